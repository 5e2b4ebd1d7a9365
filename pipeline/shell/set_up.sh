# shellcheck shell=sh
# Makes .venv from requirements.lock, and shows the progress. `graft` reads this file. It sets $root, $venv, $python,
# $stamp, and $cuda: 1 for NVIDIA's libraries as well, or nothing.

# Makes .venv. The stamp is written last, so that the next command repeats a set-up that was interrupted.
set_up() {
    started=$(date +%s)
    said=0
    installer=
    scratch=$(mktemp -d)
    trap 'stop_installer; rm -rf "$scratch"' EXIT
    trap 'interrupt 129' HUP
    trap 'interrupt 130' INT
    trap 'interrupt 143' TERM
    check_access
    find_python
    check_platform
    check_compiler
    check_disk
    find_uv
    set -- "$root/requirements.lock" ${cuda:+"$root/requirements-cuda.lock"}
    total=$(count_packages "$@")
    say "setting up $venv with Python $version and ${uv:-pip}${cuda:+, for a card}; this happens once"
    size=${cuda:+8}
    say "$total packages, ${size:-3.5} GB on disk; some minutes, or more where the network is slow"
    rm -rf "$venv" || fail "$venv cannot be removed (see above). Remove it, or clone the project into a folder of your own."
    if [ -n "$uv" ]; then
        run_step "$uv" venv --quiet --python "$base" "$venv" || fail "uv could not make $venv (see above)."
        remember_cuda
        run_step env VIRTUAL_ENV="$venv" "$uv" pip sync --color never "$@" || fail_install
    else
        run_step "$base" -m venv "$venv" || fail "Python has no venv module. On Debian or Ubuntu: apt-get install python$version-venv"
        remember_cuda
        # The lock is complete, so --no-deps saves pip the resolution.
        run_step env PIP_QUIET=0 "$python" -m pip install --no-color --no-input --progress-bar off --disable-pip-version-check \
            --no-compile --no-deps --require-hashes -r "$1" ${cuda:+-r "$2"} || fail_install
    fi
    if [ -n "$cuda" ]; then
        sh "$root/pipeline/shell/link_cuda.sh" "$venv"/lib/python*/site-packages || fail_install
    fi
    compile_imported || fail "an import failed in the new environment (see above)."
    printf '%s\n' "$stamp" >"$venv/graft-stamp"
    rm -rf "$scratch"
    trap - EXIT HUP INT TERM
    say "set up in $(elapsed)"
}

# Fails where .venv cannot be made anew: rm would refuse each of the 80,000 files of another user with a line.
check_access() {
    for folder in "$venv" "$root"; do
        if [ ! -e "$folder" ] || { [ -r "$folder" ] && [ -w "$folder" ] && [ -x "$folder" ]; }; then
            continue
        fi
        user=$(id -un 2>/dev/null) || user="this user"
        owner=$(stat -c %U "$folder" 2>/dev/null) || owner=unknown
        fail "$folder cannot be read and written by $user (its owner is $owner), and .venv has to be set up. Let $user do so (chown, chmod), or clone the project into a folder of your own."
    done
}

# Imports what the commands import, which compiles it: a quarter of the 23,000 Python files, all of which would take
# minutes. Where PYTHONDONTWRITEBYTECODE is set, as in many containers, each command would compile anew: 9 s of a run.
compile_imported() {
    run_step env PYTHONDONTWRITEBYTECODE= PYTHONPATH="$root" TF_CPP_MIN_LOG_LEVEL=3 "$python" -W ignore -c '
print("Compiling", flush=True)
import pipeline.cli, pipeline.local.report, serving.client.client, serving.server.main, tensorflow_data_validation'
}

# Writes into .venv that it is one with NVIDIA's libraries, for the next start after an interrupted set-up as well.
remember_cuda() {
    [ -z "$cuda" ] || : >"$venv/graft-cuda"
}

# Runs a command of the set-up, shows its progress, and prints its errors if it fails.
# The command gets its own process group: stop_installer then reaches the compilers that pip starts, too.
run_step() {
    "$base" -c 'import os, signal, sys
os.setpgid(0, 0)
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])' "$@" >"$scratch/out" 2>"$scratch/errors" &
    installer=$!
    while kill -0 "$installer" 2>/dev/null; do
        # An interrupt may end a command in show_progress: the trap decides then, and not set -e.
        show_progress || :
        sleep 0.5 2>/dev/null || sleep 1 || :
    done
    status=0
    wait "$installer" || status=$?
    installer=
    clear_line
    if [ "$status" -ne 0 ]; then
        if [ -s "$scratch/errors" ]; then cat "$scratch/errors" >&2; else cat "$scratch/out" >&2; fi
    fi
    return "$status"
}

# Rewrites one line of a terminal; elsewhere prints a line each half minute.
show_progress() {
    if [ -t 2 ]; then
        columns=$(stty size <&2 2>/dev/null | cut -d ' ' -f 2)
        width=$((${columns:-0} > 0 ? columns - 1 : 59))
        describe_progress
        line="graft: $progress, $(elapsed)"
        [ $((${#line} + ${#current})) -gt "$width" ] || line=$line$current
        clear_line
        printf "%.${width}s" "$line" >&2
    elif [ $(($(date +%s) - started - said)) -ge 30 ]; then
        said=$(($(date +%s) - started))
        describe_progress
        say "$progress, $(elapsed)$current"
    fi
}

clear_line() {
    [ ! -t 2 ] || printf "\r%${width:-59}s\r" '' >&2
}

# Sets $progress and $current, such as "; now tensorflow, 590.6 MB", from the output of pip or uv so far.
describe_progress() {
    installed=0
    for found in "$venv"/lib/python*/site-packages/*.dist-info "$venv"/lib/python*/site-packages/*.egg-info; do
        [ ! -e "$found" ] || installed=$((installed + 1))
    done
    report=$(awk -v total="$total" -v installed="$installed" -f "$root/pipeline/shell/progress.awk" \
        "$scratch/out" "$scratch/errors") || report="preparing|"
    progress=${report%%|*}
    current=${report#*|}
}

elapsed() {
    seconds=$(($(date +%s) - started))
    [ "$seconds" -lt 60 ] || printf '%s min ' $((seconds / 60))
    printf '%s s' $((seconds % 60))
}

interrupt() {
    trap '' HUP INT TERM
    stop_installer
    clear_line
    say "set-up stopped after $(elapsed). The same command starts again, with the files that ${uv:-pip} has downloaded."
    exit "$1"
}

# Interrupts the process group of the installer; kills it after 5 s.
stop_installer() {
    [ -n "$installer" ] || return 0
    kill -s INT -- "-$installer" 2>/dev/null || kill "$installer" 2>/dev/null || return 0
    tries=0
    while kill -s 0 -- "-$installer" 2>/dev/null && [ "$tries" -lt 25 ]; do
        tries=$((tries + 1))
        sleep 0.2 2>/dev/null || sleep 1
    done
    kill -s KILL -- "-$installer" 2>/dev/null || :
    wait "$installer" 2>/dev/null || : # without wait, bash reports that the process was killed
}

# Counts the packages of the locks, its arguments, whose markers hold for the Python that is used.
count_packages() {
    "$base" -c '
import os, platform, re, sys

markers = {
    "sys": sys,
    "sys_platform": sys.platform,
    "os_name": os.name,
    "implementation_name": sys.implementation.name,
    "platform_machine": platform.machine(),
    "platform_python_implementation": platform.python_implementation(),
    "platform_system": platform.system(),
}
names = set()
for line in (line for lock in sys.argv[1:] for line in open(lock)):
    if name := re.match("[A-Za-z0-9._-]+", line):
        marker = line.partition(";")[2].strip(" \\\n") or "True"
        marker = re.sub(r"python_full_version (\S+) .3\.(\d+)(\.\*)?.", r"sys.version_info[:2] \1 (3, \2)", marker)
        if eval(marker, markers):
            names.add(name[0])
print(len(names))' "$@" 2>/dev/null || cat "$@" | grep -c '^[A-Za-z0-9._-]'
}

fail_install() {
    fail "the packages of requirements.lock${cuda:+ and requirements-cuda.lock} could not be installed (see above). With a network and some $needed GB of disk, run the same command again."
}
