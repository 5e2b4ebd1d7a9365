# Parses a command line as click does, with the commands and options of docs/commands.md, and prints the answer.
#
#   awk -f answer.awk docs/commands.md ARGUMENT...
#
# Exit status: 0 for help, 2 for an error or for a group without a command, 4 for --version, 3 where click must decide.

function read_page(page,    line, command, fenced, eager_option) {
    while ((getline line < page) > 0) {
        if (line ~ /^## /) {
            command = substr(line, 4)
            eager_option = ""
            if (match(command, / [^ ]+$/)) group[substr(command, 1, RSTART - 1)] = 1
        } else if (line == "Other options are passed on.") {
            passes_on[command] = 1
        } else if (line ~ /^```/) {
            fenced = !fenced
        } else if (line ~ /^### /) {
            eager_option = substr(line, 5)
            extra[command, eager_option] = ""
        } else if (fenced) {
            if (line ~ /^Usage: /) { help[command] = line; eager_option = "" }
            else if (eager_option != "") extra[command, eager_option] = extra[command, eager_option] line "\n"
            else help[command] = help[command] "\n" line
            if (line ~ /^  -/) read_option(command, substr(line, 3))
        }
    }
}

# Reads a row such as "-q, --quiet  Print ...", "--canary / --no-canary" or "--out DIR"; two spaces end the names.
function read_option(command, row,    words, count, i, value) {
    sub(/  .*/, "", row)
    count = split(row, words, /[ ,]+/)
    for (i = 1; i <= count; i++) if (words[i] !~ /^[-\/]/) value = 1
    for (i = 1; i <= count; i++) if (words[i] ~ /^-/) takes[command, words[i]] = value + 0
}

function quoted(name) {
    return index(name, "\047") ? "\"" name "\"" : "\047" name "\047"
}

function refuse_unknown(what, name) {
    print substr(help[command], 1, index(help[command], "\n\n") - 1)
    print "Try " quoted(command " --help") " for help.\n\nError: No such " what " " quoted(name) "."
    exit 2
}

function refuse_value(option, reason) {
    print "Error: Option " quoted(option) " " reason
    exit 2
}

function note_eager(option) {
    if (eager == "" && (option ~ /^(-h|--help|--version)$/ || (command, option) in extra)) eager = option
}

# Reads short options behind one dash, such as -qv. Click must decide where one takes a value.
function read_short(word,    i, option) {
    for (i = 2; i <= length(word); i++) {
        option = "-" substr(word, i, 1)
        if (!((command, option) in takes)) refuse_unknown("option", option ~ /^-[!-~]$/ ? option : word)
        if (takes[command, option]) exit 3
        note_eager(option)
    }
}

# Reads options from ARGV[at] on. Returns the index of a subcommand, or ARGC.
function read_options(at,    word, option) {
    for (; at < ARGC; at++) {
        word = ARGV[at]
        option = word
        sub(/=.*/, "", option)
        if (word == "--") {
            if (command in group) exit 3
            return ARGC
        }
        if (word !~ /^-./) {
            if (command in group) return at
        } else if ((command, word) in takes) {
            note_eager(word)
            if (takes[command, word] && ++at >= ARGC) refuse_value(word, "requires an argument.")
        } else if (word ~ /^--/ && (command, option) in takes) {
            if (!takes[command, option]) refuse_value(option, "does not take a value.")
        } else if (!(command in passes_on)) {
            if (word ~ /^--/) refuse_unknown("option", option)
            read_short(word)
        }
    }
    return ARGC
}

BEGIN {
    read_page(ARGV[1])
    command = "./graft"
    if (!(command in help)) exit 3
    for (at = 2; ; at++) {
        # `releases` without a command means `releases list`.
        lists = (command in group) && ((command " list") in help)
        if (lists && at == ARGC) exit 3
        if (lists && ARGV[at] ~ /^-/ && ARGV[at] !~ /^(-h|--help)$/) command = command " list"
        if ((command in group) && at == ARGC) { print help[command]; exit 2 }
        at = read_options(at)
        if (eager == "--version") exit 4
        if ((command, eager) in extra) { printf "%s", extra[command, eager]; exit 0 }
        if (eager != "") { print help[command]; exit 0 }
        if (at >= ARGC) exit 3
        if (!((command " " ARGV[at]) in help)) refuse_unknown("command", ARGV[at])
        command = command " " ARGV[at]
    }
}
