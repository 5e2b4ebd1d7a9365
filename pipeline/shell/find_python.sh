# shellcheck shell=sh
# Finds a Python for one of the two stacks, and checks platform, compiler, headers and disk space. `graft` reads this file.

# Sets $base to a Python of the newer stack (3.13 to 3.11) if the C library is new enough, else of the older (3.10).
find_python() {
    wanted="3.10"
    if has_new_glibc; then
        wanted="3.13 3.12 3.11 3.10"
    fi
    if [ -n "${GRAFT_PYTHON:-}" ]; then
        use_python "$GRAFT_PYTHON" || fail "GRAFT_PYTHON=$GRAFT_PYTHON does not run as Python $(either "$wanted")."
        return
    fi
    for version in $wanted; do
        for candidate in $(candidates); do
            if use_python "$candidate"; then
                return
            fi
        done
    done
    find_uv
    if [ -n "$uv" ]; then
        for version in $wanted; do
            # Without --system uv would look into an active environment. uv may download a Python.
            candidate=$("$uv" python find --system "$version" 2>/dev/null) ||
                { "$uv" python install --quiet "$version" >/dev/null 2>&1 &&
                    candidate=$("$uv" python find --managed-python "$version" 2>/dev/null); } || continue
            if use_python "$candidate"; then
                return
            fi
        done
    fi
    fail "no usable Python. This machine (glibc $(glibc)) needs Python $(either "$wanted"), with venv; install it, or uv, or name one with GRAFT_PYTHON=PATH."
}

# Prints candidates for a Python of $version, one a line: on PATH, and in pyenv's folders, which its shims hide.
candidates() {
    command -v "python$version" || :
    for folder in "${PYENV_ROOT:-${HOME:-/nonexistent}/.pyenv}"/versions/"$version".*/bin; do
        [ -x "$folder/python$version" ] && printf '%s\n' "$folder/python$version"
    done
    command -v python3 || :
}

# Sets $base and $version if a candidate runs and has a wanted version. A shim may fail.
use_python() {
    found=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || return 1
    case " $wanted " in *" $found "*) ;; *) return 1 ;; esac
    base=$1
    version=$found
}

glibc() {
    getconf GNU_LIBC_VERSION 2>/dev/null | cut -d ' ' -f 2
}

# Tells whether the C library can run the newer stack, whose wheels are manylinux_2_39.
has_new_glibc() {
    libc=$(glibc)
    [ "${libc%%.*}" = 2 ] && [ "${libc#*.}" -ge 39 ]
}

either() {
    printf '%s' "$1" | sed 's/ / or /g'
}

find_uv() {
    uv=
    if [ -z "${GRAFT_NO_UV:-}" ] && command -v uv >/dev/null && uv --version >/dev/null 2>&1; then
        uv=uv
    fi
}

# Checks for a compiler and Python's headers: pyfarmhash, which TFDV needs, has no wheel.
check_compiler() {
    command -v g++ >/dev/null || command -v c++ >/dev/null ||
        fail "no C++ compiler, and one dependency (pyfarmhash) has to be built. On Debian or Ubuntu: apt-get install g++"
    headers=$("$base" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')
    [ -f "$headers/Python.h" ] ||
        fail "the headers of Python $version are missing ($headers/Python.h), and one dependency (pyfarmhash) has to be built. On Debian or Ubuntu: apt-get install python$version-dev"
}

# NVIDIA's libraries come as wheels, and wheels of TensorFlow use a card, on this platform alone.
check_platform() {
    [ -z "$cuda" ] || [ "$(uname -s -m)" = "Linux x86_64" ] ||
        fail "GRAFT_CUDA=1: NVIDIA's libraries are there for Linux x86_64, and this is $(uname -s -m). GRAFT_CUDA=0 sets up without them."
}

check_disk() {
    needed=${cuda:+12}
    needed=${needed:-5}
    free=$(df -Pk "$root" | awk 'NR == 2 {print int($4 / 1048576)}')
    [ "$free" -ge "$needed" ] || fail "$needed GB of disk are needed for the environment, and $root has $free GB. Make room, or clone elsewhere."
}
