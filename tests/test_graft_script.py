"""`./graft`: finds its folder, its environment, and says in one line what is missing."""

import fcntl
import importlib.util
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios

import packaging.requirements
import pytest
from click.testing import CliRunner
from terminals import open_terminal
from waiting import wait_until

from kubeflow.cli import cli
from schema.version import VERSION

ROOT = pathlib.Path(__file__).parents[1]
FAKE_PYTHON = '#!/bin/sh\nshift\necho "arguments: $*"\n'


def run(script, *arguments, path="/usr/bin:/bin", cwd=None, **environment):
    return subprocess.run(
        [str(script), *arguments],
        env={"PATH": str(path), "HOME": "/nonexistent", **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def write_executable(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def project(tmp_path):
    """A copy of the script with a lock of its own, in a path with spaces; no environment yet."""
    folder = tmp_path / "my project"
    for name in ("graft", "docs/commands.md", "schema/version.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "pipeline" / "shell", folder / "pipeline" / "shell")
    (folder / "requirements.lock").write_text("nothing==1\n")
    (folder / "requirements-cuda.lock").write_text("nvidia-nccl-cu12==1\nnvidia-cuda-runtime-cu12==1\n")
    return folder


@pytest.fixture
def tools(tmp_path):
    """A PATH with the tools every machine has and neither Python, uv nor a compiler."""
    folder = tmp_path / "bin"
    folder.mkdir()
    names = "awk cat cksum cp cut date df dirname env getconf grep ln mkdir mktemp readlink rm sed sh sleep stty uname"
    for name in names.split():
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    return folder


def set_up(project):
    write_executable(project / ".venv" / "bin" / "python", FAKE_PYTHON)
    with open(project / "requirements.lock") as lock:
        checksum = subprocess.run(["cksum"], stdin=lock, capture_output=True, text=True, check=True).stdout.strip()
    (project / ".venv" / "graft-stamp").write_text(f"{checksum} {project.resolve()}\n")


def test_script_passes_shellcheck():
    """POSIX sh, and no slip of quoting."""
    shellcheck = pathlib.Path(sys.executable).with_name("shellcheck")
    files = [ROOT / "graft", ROOT / "pipeline" / "shell" / "link_cuda.sh", ROOT / ".ci" / "run"]
    done = subprocess.run(
        [shellcheck, "--external-sources", *files], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_arguments_are_handed_over_from_any_folder_and_through_a_link(project, tmp_path):
    """Spaces in the path, another working folder, a symbolic link in a bin folder."""
    set_up(project)
    link = tmp_path / "elsewhere" / "graft"
    link.parent.mkdir()
    link.symlink_to(project / "graft")
    for script in (project / "graft", link):
        done = run(script, "predict", "a b.jpg", cwd="/")
        assert done.stdout == "arguments: predict a b.jpg\n", done.stderr


def test_options_of_beam_need_no_environment(project, tools):
    """They stand apart in the help, and are as well known."""
    asked = CliRunner().invoke(cli, ["run", "--help-beam"], prog_name="./graft", terminal_width=78)
    done = run(project / "graft", "run", "--help-beam", path=tools)
    assert (done.returncode, done.stdout, done.stderr) == (0, asked.output, "")
    assert "No such option '--foo'" in run(project / "graft", "run", "--beam-runner", "x", "--foo", path=tools).stderr


def test_changed_lock_sets_up_again(project, tools):
    """What is installed is what the lock says; here, setting up needs the Python that is not there."""
    set_up(project)
    (project / "requirements.lock").write_text("nothing==2\n")
    assert "no usable Python" in run(project / "graft", "model", path=tools).stderr


def test_moved_project_sets_up_again(project, tools):
    """An environment knows its own path."""
    set_up(project)
    moved = project.with_name("moved")
    project.rename(moved)
    assert "no usable Python" in run(moved / "graft", "model", path=tools).stderr


def test_no_python_is_one_line_that_says_what_to_install(project, tools):
    """Which versions, and how to name one."""
    done = run(project / "graft", "model", path=tools)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "needs Python" in done.stderr
    assert "GRAFT_PYTHON" in done.stderr


def test_python_that_does_not_run_is_passed_over(project, tools):
    """The shims of pyenv are on PATH and fail."""
    for name in ("python3.10", "python3.11", "python3.12", "python3.13", "python3"):
        write_executable(tools / name, "#!/bin/sh\nexit 127\n")
    assert "no usable Python" in run(project / "graft", "model", path=tools).stderr


def test_no_compiler_is_one_line_that_says_what_to_install(project, tools):
    """One dependency has no wheel."""
    done = run(project / "graft", "model", path=tools, GRAFT_PYTHON=sys.executable)
    assert "apt-get install g++" in done.stderr, done.stderr
    assert not (project / ".venv").exists()


def test_too_little_disk_is_said_before_anything_is_written(project, tools):
    """Half an environment helps nobody."""
    write_executable(tools / "g++", "#!/bin/sh\n")
    (tools / "df").unlink()
    write_executable(tools / "df", "#!/bin/sh\necho header\necho disk 9 9 1048576 9% /\n")
    done = run(project / "graft", "model", path=tools, GRAFT_PYTHON=sys.executable)
    assert "5 GB of disk are needed" in done.stderr, done.stderr
    assert not (project / ".venv").exists()


# --- Without an environment ---


def answer(project, tools, *arguments, shell="sh"):
    """Asks the script where there is neither an environment nor a Python."""
    return run(shell, str(project / "graft"), *arguments, path=tools)


def ask_click(*arguments):
    """Asks click on 80 columns. Its suggestions are left out: the script has none."""
    done = CliRunner().invoke(cli, arguments, prog_name="./graft", terminal_width=78)
    return done.exit_code, done.stdout, re.sub(r" \(?Did you mean.*", "", done.stderr)


def walk(command, path=()):
    yield path, command
    for name, subcommand in getattr(command, "commands", {}).items():
        yield from walk(subcommand, (*path, name))


COMMANDS = dict(walk(cli))


def test_help_of_every_command_needs_no_python(project, tools):
    """Word for word what click prints."""
    for path in COMMANDS:
        done = answer(project, tools, *path, "--help")
        assert (done.returncode, done.stdout, done.stderr) == ask_click(*path, "--help"), path
        assert done.stdout.startswith(" ".join(["Usage: ./graft", *path]))


def test_unknown_option_of_every_command_needs_no_python(project, tools):
    """Word for word what click prints; options of pytest are not unknown."""
    for path in COMMANDS.keys() - {("test",)}:
        done = answer(project, tools, *path, "--foo")
        assert (done.returncode, done.stdout, done.stderr) == ask_click(*path, "--foo"), path
        assert "Error: No such option '--foo'" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "-h",
        "kubeflow",
        "nosuch",
        "kubeflow nosuch",
        "run -x",
        "run -qx",
        "run -q=1",
        "run --head-units -1 --foo",
        "run --head-units=-1 --foo=1",
        "run --json=1",
        "run --out",
        "run photos -h",
        "run -qh",
        "run --out --help --foo",
        "run --help --foo",
        "run --no-canary --help",
        "predict -1",
        "releases --json --foo",
        "releases --json -h",
        "releases -h --foo",
        "--foo run",
        "--help nosuch",
        "test --pdb --help",
        "test --quick=1",
        "test -k",
        "-",
        "sample it's",
    ],
)
@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_what_click_refuses_is_refused_in_its_words(project, tools, shell, arguments):
    """Help and errors, without a Python; in doubt, an environment decides."""
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    done = answer(project, tools, *arguments.split(), shell=shutil.which(shell))
    if arguments == "test -k":  # click would run pytest
        assert "no usable Python" in done.stderr
    else:
        assert (done.returncode, done.stdout, done.stderr) == ask_click(*arguments.split())


@pytest.mark.parametrize(
    "arguments",
    [
        "run photos",
        "run --head-units -1",
        "run --out --foo",
        "run -- --foo",
        "run -qv",
        "releases",
        "releases --json",
        "releases keep 3",
        "predict",
        "test --lf -x tests/schema",
        "kubeflow submit --param a=b --wait",
    ],
)
def test_what_click_may_accept_sets_up(project, tools, arguments):
    """The page refuses nothing that it cannot judge."""
    done = answer(project, tools, *arguments.split())
    assert done.returncode == 1
    assert "no usable Python" in done.stderr


def test_version_needs_no_python(project, tools):
    """Its number is that of the source; libraries have none yet."""
    done = answer(project, tools, "--version")
    assert done.stdout == f"Graft {VERSION} (not set up yet: the first command that runs anything sets up .venv)\n"
    assert done.returncode == 0


def test_help_comes_through_a_link_from_another_folder(project, tools, tmp_path):
    """The page is found beside the script."""
    link = tmp_path / "elsewhere" / "graft"
    link.parent.mkdir()
    link.symlink_to(project / "graft")
    assert run(link, "run", "-h", path=tools, cwd="/").stdout.startswith("Usage: ./graft run ")


def test_without_the_page_an_environment_answers(project, tools):
    """A copy without docs/ works."""
    (project / "docs" / "commands.md").unlink()
    assert "no usable Python" in answer(project, tools, "--help").stderr


def test_with_an_environment_python_answers(project, tools):
    """Help and errors, too."""
    set_up(project)
    assert run(project / "graft", "--help", path=tools).stdout == "arguments: --help\n"


@pytest.mark.parametrize("ready", [True, False])
def test_wrong_switch_for_a_card_is_refused_by_what_runs_and_not_by_help(project, tools, ready):
    """Help and --version print, as with no switch."""
    if ready:
        set_up(project)
    for arguments in (["--help"], ["run", "-h"]):
        done = run(project / "graft", *arguments, path=tools, GRAFT_CUDA="yes")
        assert (done.returncode, done.stdout.startswith("Usage: ./graft"), done.stderr) == (0, True, "")
    version = run(project / "graft", "--version", path=tools, GRAFT_CUDA="yes").stdout
    assert version.startswith(f"Graft {VERSION}")
    assert ("not set up yet" in version) is not ready
    refused = run(project / "graft", "model", path=tools, GRAFT_CUDA="yes")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert refused.stderr.startswith("graft: GRAFT_CUDA=yes: expected 1 for an environment")


@pytest.mark.parametrize(("closed", "mode"), [(".venv", 0o000), (".venv", 0o500), (".", 0o500)])
def test_environment_of_another_user_is_one_line(project, tools, closed, mode):
    """Before anything is removed. Here root does without its right to pass over permissions."""
    set_up(project)
    (project / "requirements.lock").write_text("nothing==2\n")
    for name in ("id", "stat"):
        write_executable(tools / name, "#!/bin/sh\necho somebody\n")
    weakly = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    (project / closed).chmod(mode)
    try:
        done = run(*map(shutil.which, weakly[:1]), *weakly[1:], str(project / "graft"), "model", path=tools)
    finally:
        (project / closed).chmod(0o700)
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1, done.stderr
    assert (
        f"{(project / closed).resolve()} cannot be read and written by somebody (its owner is somebody)" in done.stderr
    )
    assert "clone the project into a folder of your own" in done.stderr
    assert (project / ".venv" / "graft-stamp").exists()


def test_command_is_exported_as_it_was_typed(project, tools):
    """For the commands that Python prints: a path as it stands, or the name where PATH has it."""
    set_up(project)
    write_executable(project / ".venv" / "bin" / "python", '#!/bin/sh\necho "$GRAFT_COMMAND"\n')
    (tools / "graft").symlink_to(project / "graft")
    for typed, path, expected in (
        ("./graft", tools, "./graft"),
        ("../my project/graft", tools, "../my project/graft"),
        (str(project / "graft"), tools, str(project / "graft")),
        ("graft", tools, "graft"),
    ):
        done = run("sh", "-c", '"$0"', typed, path=path, cwd=project)
        assert done.stdout == f"{expected}\n", done.stderr
    assert run("sh", "graft", path=tools, cwd=project).stdout == "./graft\n"


# --- Set-up ---

FAKE_BASE = """#!/bin/sh
case "$1 $2" in
    "-c "*) exec {real} "$@" ;;
    "-m venv") mkdir -p "$3/bin" "$3/lib/python3.10/site-packages" && cp "$0" "$3/bin/python" ;;
    "-m pip") packages=$(dirname "$0")/../lib/python3.10/site-packages; {pip} ;;
    "-W ignore") printf '%s|%s' "$PYTHONDONTWRITEBYTECODE" "$4" >"$(dirname "$0")/imported" ;;
    *) shift; echo "arguments: $*" ;;
esac
"""
FAKE_UV = """#!/bin/sh
case "$1 $2" in
    --version*) ;;
    venv*) shift 4; mkdir -p "$1/bin" "$1/lib/python3.10/site-packages" && cp "$GRAFT_PYTHON" "$1/bin/python" ;;
    "pip sync") packages=$VIRTUAL_ENV/lib/python3.10/site-packages; {uv} ;;
esac
"""
DOWNLOADING = """
echo 'Collecting one==1'
echo '  Downloading one-1-py3-none-any.whl (9 kB)'
echo 'Collecting tensorflow==2'
echo '  Downloading tensorflow-2-cp310-cp310-manylinux_2_17_x86_64.whl (590.6 MB)'
sleep 0.7
"""
INSTALLING = """
echo 'Installing collected packages: one, tensorflow, three'
mkdir "$packages/one-1.dist-info" "$packages/tensorflow-2.egg-info"
echo '  Running setup.py install for pyfarmhash: started'
sleep 0.7
"""
UV_DOWNLOADING = """
exec >&2
echo 'Resolved 3 packages in 481ms'
echo 'Downloading keras (2.0MiB)'
echo 'Downloading tensorflow (563.3MiB)'
echo ' Downloaded keras'
sleep 0.7
"""
UV_INSTALLING = """
echo 'Prepared 3 packages in 913ms'
sleep 0.7
"""


@pytest.fixture
def build(project, tools):
    """Returns a function that writes stand-ins for Python, pip and uv; returns the arguments of `run`."""

    def write(pip="", uv=None):
        (project / "requirements.lock").write_text("one==1 \\\n    --hash=x\ntensorflow==2\nthree==3\n")
        write_executable(tools / "g++", "#!/bin/sh\n")
        (tools / "df").unlink(missing_ok=True)  # the disk of this machine may be nearly full
        write_executable(tools / "df", "#!/bin/sh\necho header\necho disk 9 9 104857600 9% /\n")
        write_executable(tools / "base python", FAKE_BASE.format(real=sys.executable, pip=pip))
        if uv is not None:
            write_executable(tools / "uv", FAKE_UV.format(uv=uv))
        return {"path": str(tools), "GRAFT_PYTHON": str(tools / "base python")}

    return write


def run_on_terminal(columns, script, *arguments, path, **environment):
    """Runs the script with its standard error on a terminal; returns its exit status and what the terminal got."""
    terminal, end = open_terminal()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [str(script), *arguments],
        env={"PATH": path, "HOME": "/nonexistent", **environment},
        stdout=subprocess.DEVNULL,
        stderr=end,
    )
    os.close(end)
    printed = b""
    while True:
        try:
            printed += os.read(terminal, 65536)
        except OSError:  # the other end is closed
            break
    os.close(terminal)
    return process.wait(timeout=300), printed.decode()


def test_set_up_says_how_much_how_long_and_hands_over(project, build):
    """On a pipe: no line is rewritten, and a short set-up has a line at its start and one at its end."""
    done = run(project / "graft", "model", **build())
    assert done.stdout == "arguments: model\n", done.stderr
    first, second, last = done.stderr.splitlines()
    assert first.startswith(f"graft: setting up {project}/.venv with Python 3.1")
    assert second.startswith("graft: 3 packages, 3.5 GB")
    assert re.fullmatch(r"graft: set up in \d s", last)
    assert run(project / "graft", "model", path="/usr/bin:/bin").stderr == ""


@pytest.mark.parametrize("uv", [None, ""])
def test_set_up_compiles_what_the_commands_import(project, build, uv):
    """Else each command would compile anew where no bytecode may be written."""
    done = run(project / "graft", "model", PYTHONDONTWRITEBYTECODE="1", **build(uv=uv))
    assert done.returncode == 0, done.stderr
    written, imported = (project / ".venv" / "bin" / "imported").read_text().split("|")
    assert not written
    modules = re.findall(r"\w+(?:\.\w+)+", imported)
    assert modules
    assert all(importlib.util.find_spec(module) for module in modules)


def test_lines_on_a_pipe_come_each_half_minute(project, tools, build):
    """For the log of CI; here each look at the clock takes 20 s."""
    (tools / "date").unlink()
    write_executable(tools / "date", '#!/bin/sh\necho >>"$0.seen"\necho $(($(grep -c "" "$0.seen") * 20))\n')
    printed = run(project / "graft", "model", **build(DOWNLOADING + INSTALLING)).stderr
    spent = r"\d+ min \d+ s"
    assert re.search(rf"^graft: 1 of 3 packages downloaded, {spent}; now tensorflow, 590.6 MB$", printed, re.MULTILINE)
    assert re.search(rf"^graft: 2 of 3 packages installed, {spent}; now pyfarmhash$", printed, re.MULTILINE), printed
    assert "\r" not in printed


@pytest.mark.parametrize("columns", [60, 120])
def test_terminal_shows_progress_of_pip_on_one_line(project, build, columns):
    """No line is as wide as the terminal: it would wrap."""
    status, printed = run_on_terminal(columns, project / "graft", "model", **build(DOWNLOADING + INSTALLING))
    shown = [line.strip() for line in re.findall(r"\r([^\r\n]*)", printed)]
    assert status == 0
    assert max(len(line) for line in re.findall(r"\r([^\r\n]+)", printed)) == columns - 1  # of spaces
    now = "; now tensorflow, 590.6 MB" if columns == 120 else ""
    assert any(re.fullmatch(rf"graft: 1 of 3 packages downloaded, \d s{now}", line) for line in shown), shown
    assert any(re.fullmatch(r"graft: 2 of 3 packages installed, \d s; now pyfarmhash", line) for line in shown), shown
    assert re.search(r"\r +\rgraft: set up in \d s\r\n$", printed)


def test_terminal_shows_progress_of_uv_on_one_line(project, build):
    """The log of uv names large packages; then it installs them."""
    status, printed = run_on_terminal(120, project / "graft", "model", **build(uv=UV_DOWNLOADING + UV_INSTALLING))
    assert status == 0
    assert re.search(r"\rgraft: downloading, 1 large package left, \d s; now tensorflow, 563.3MiB", printed), printed
    assert re.search(r"\rgraft: \d of 3 packages installed, \d s", printed)


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_failed_installation_shows_its_errors_and_is_not_taken_for_a_finished_one(project, build, tool):
    """The next start tries again. Nothing waits for an installer that died."""
    dying = "echo 'ERROR: first' >&2; echo 'ERROR: second' >&2; kill -9 $$"
    done = run(project / "graft", "model", **build(dying, uv=dying if tool == "uv" else None))
    assert done.returncode == 1
    assert "\nERROR: first\nERROR: second\ngraft: the packages of requirements.lock could not" in done.stderr
    assert not (project / ".venv" / "graft-stamp").exists()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("shell", ["dash", pytest.param("bash", marks=pytest.mark.long)])
@pytest.mark.parametrize("ignored", ["", "trap '' INT; "], ids=["compiler", "stubborn compiler"])
def test_interrupted_set_up_leaves_no_process_and_no_stamp(project, tools, build, ignored, shell, number, status):
    """The installer and what it started end, too."""
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    compiler = tools / "compiler"
    write_executable(
        compiler, f"#!/bin/sh\n{ignored}echo $$ >'{tools}/new'\ncp '{tools}/new' '{tools}/id'\nexec tail -f \"$0\"\n"
    )
    (tools / "tail").symlink_to(shutil.which("tail"))
    (tools / "sleep").unlink()
    write_executable(tools / "sleep", f"#!/bin/sh\nexec {shutil.which('sleep')} 0.01\n")
    settings = build(f"trap 'cp \"$0\" \"{tools}/cleaned\"' INT; '{compiler}'")
    before = signal.signal(number, signal.SIG_DFL)  # a shell cannot catch what is ignored, as SIGHUP below nohup
    try:
        process = subprocess.Popen(
            [shutil.which(shell), project / "graft", "model"],
            env={"PATH": settings.pop("path"), "HOME": "/nonexistent", "TMPDIR": str(tools), **settings},
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(number, before)
    wait_until((tools / "id").exists)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == status, errors
    assert errors.splitlines()[-1].startswith("graft: set-up stopped after ")
    compiler_id = int((tools / "new").read_text())
    wait_until(lambda: has_ended(compiler_id))
    assert not (project / ".venv" / "graft-stamp").exists()
    assert not list(tools.glob("tmp.*"))
    assert ignored or (tools / "cleaned").exists()  # pip removes its temporary files at SIGINT


# --- NVIDIA's libraries ---

INSTALLING_CUDA = """
echo "$*" >>'{log}'
mkdir -p "$packages/nvidia/cuda_runtime/lib" "$packages/nvidia/nccl/lib"
: >"$packages/nvidia/cuda_runtime/lib/libcudart.so.12"
: >"$packages/nvidia/nccl/lib/libnccl.so.2"
"""


@pytest.fixture
def installer(tools, build):
    """Returns a function for the arguments of `run`, and one that returns the locks installed since it was called."""
    log = tools / "installations"

    def list_locks():
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [re.findall(r"requirements\S*\.lock", line) for line in lines]

    (tools / "sleep").unlink()
    write_executable(tools / "sleep", f"#!/bin/sh\nexec {shutil.which('sleep')} 0.05\n")
    installing = INSTALLING_CUDA.format(log=log)
    return lambda tool: build(installing, uv=installing if tool == "uv" else None), list_locks


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_environment_remembers_that_it_is_for_a_card(project, installer, tool):
    """GRAFT_CUDA=1 once; a changed lock installs both anew, and GRAFT_CUDA=0 makes one without."""
    build, list_locks = installer
    settings = build(tool)
    both, one = ["requirements.lock", "requirements-cuda.lock"], ["requirements.lock"]
    link = project / ".venv/lib/python3.10/site-packages/nvidia/cuda_runtime/lib/libnccl.so.2"
    for changed, cuda, expected in (
        ("", "", [one]),
        ("", "1", [both]),
        ("", "", []),
        ("requirements.lock", "", [both]),
        ("requirements-cuda.lock", "", [both]),
        ("", "0", [one]),
        ("requirements-cuda.lock", "", []),
    ):
        if changed:
            (project / changed).write_text((project / changed).read_text() + "another==1\n")
        done = run(project / "graft", "model", **settings, GRAFT_CUDA=cuda)
        assert (done.stdout, list_locks()) == ("arguments: model\n", expected), done.stderr
        assert link.is_symlink() == (project / ".venv/graft-cuda").exists()
    assert run(project / "graft", "model", path="/usr/bin:/bin", GRAFT_CUDA="0").stderr == ""


def test_set_up_for_a_card_says_what_it_takes_and_names_both_locks(project, build, tools):
    """More packages, more disk; the stamp has both checksums."""
    printed = run(project / "graft", "model", **build(INSTALLING_CUDA.format(log=tools / "log")), GRAFT_CUDA="1").stderr
    assert re.search(r"^graft: setting up .* with Python 3\.1\d and pip, for a card; ", printed)
    assert "graft: 5 packages, 8 GB on disk" in printed
    stamp = (project / ".venv/graft-stamp").read_text()
    for name in ("requirements.lock", "requirements-cuda.lock"):
        with open(project / name) as lock:
            asked = subprocess.run(["cksum"], stdin=lock, capture_output=True, text=True, check=True)
        assert asked.stdout.strip() in stamp


def test_interrupted_set_up_for_a_card_is_repeated_for_a_card(project, tools, build, installer):
    """Also without GRAFT_CUDA: the first part of the environment remembers."""
    failing = "echo 'ERROR: no network' >&2; exit 1"
    printed = run(project / "graft", "model", **build(failing), GRAFT_CUDA="1").stderr
    assert "the packages of requirements.lock and requirements-cuda.lock could not be installed" in printed
    assert not (project / ".venv/graft-stamp").exists()
    make, list_locks = installer
    assert run(project / "graft", "model", **make("pip")).returncode == 0
    assert list_locks() == [["requirements.lock", "requirements-cuda.lock"]]


def test_library_that_is_missing_fails_the_set_up(project, build):
    """An installer that says success without the folder that TensorFlow looks into."""
    done = run(project / "graft", "model", **build('mkdir -p "$packages"'), GRAFT_CUDA="1")
    assert "could not be installed" in done.stderr
    assert not (project / ".venv/graft-stamp").exists()


@pytest.mark.parametrize(
    ("name", "text", "cuda", "expected"),
    [
        (
            "uname",
            "echo Linux aarch64",
            "1",
            "NVIDIA's libraries are there for Linux x86_64, and this is Linux aarch64",
        ),
        ("df", "echo header; echo disk 9 9 11534336 9% /", "1", "12 GB of disk are needed for the environment"),
        ("uname", "echo Linux x86_64", "yes", "GRAFT_CUDA=yes: expected 1 for an environment with NVIDIA's libraries"),
    ],
)
def test_machine_that_cannot_have_the_libraries_is_told(project, tools, build, name, text, cuda, expected):
    """Before anything is written; without GRAFT_CUDA the same machine is set up."""
    settings = build()
    (tools / name).unlink()
    write_executable(tools / name, f"#!/bin/sh\n{text}\n")
    done = run(project / "graft", "model", **settings, GRAFT_CUDA=cuda)
    assert expected in done.stderr
    assert len(done.stderr.splitlines()) == done.returncode == 1
    assert not (project / ".venv").exists()


def has_ended(process):
    """Tells a process that is gone, or only waits for its parent, from a running one."""
    try:
        return pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_number_of_packages_is_that_of_the_lock(project, tools, build):
    """Only those whose markers hold here, each once."""
    settings = build()
    shutil.copy(ROOT / "requirements.lock", project)
    lines = re.findall(r"^[A-Za-z0-9].*", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    needed = [packaging.requirements.Requirement(line.rstrip(" \\")) for line in lines]
    names = {one.name for one in needed if one.marker is None or one.marker.evaluate()}
    assert f"graft: {len(names)} packages, " in run(project / "graft", "model", **settings).stderr
