# Reads the output of pip or uv so far, and prints count and current step of the set-up: "9 of 297 packages|; now x".
#
#   awk -v total=N -v installed=N -f progress.awk OUT ERRORS
#
# The output of uv names only packages above 1 MiB.

function plural(count, noun) { return count " " noun (count == 1 ? "" : "s") }

# pip
/^(Collecting|Processing) / { begun++; now = "" }
/^  Downloading / { split($2, words, "-"); now = words[1] ", " $3 " " $4; gsub(/[()]/, "", now) }
/^Building wheels / { wheels = 1; now = "" }
/^Installing collected / { installing = 1; now = "" }
/^ +(Running setup.py install|Building wheel) for .*started$/ { now = $1 == "Building" ? $4 : $5; sub(/:$/, "", now) }
/^ +(Running setup.py install|Building wheel) for .*finished/ { now = "" }

# uv
/^Resolved / { resolved = 1 }
/^Downloading / { size[$2] = substr($3, 2, length($3) - 2) }
/^ *Downloaded / { delete size[$2] }
/^ *Building [^ ]+==/ { source[$2] = 1 }
/^ *Built / { delete source[$2] }
/^Prepared / { installing = 1 }

/^Compiling$/ { compiling = 1 }

END {
    for (name in size) {
        left++
        if (size[name] ~ /[MG]iB/ && size[name] + 0 > largest) {
            largest = size[name] + 0
            now = name ", " size[name]
        }
    }
    for (name in source) sources++
    if (installed > total) installed = total
    if (begun > total) begun = total
    if (compiling) text = "compiling what the commands import"
    else if (installing) text = installed " of " plural(total, "package") " installed"
    else if (wheels) text = "building the packages that come as source"
    else if (begun) text = begun - 1 " of " plural(total, "package") " downloaded"
    else if (left) text = "downloading, " plural(left, "large package") " left"
    else if (sources) text = "building " plural(sources, "package") " from source"
    else text = resolved ? "downloading" : "preparing"
    print text "|" (now == "" ? "" : "; now " now)
}
