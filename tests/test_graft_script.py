"""`./graft`: finds its folder, its environment, and says in one line what is missing."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FAKE_PYTHON = '#!/bin/sh\nshift\necho "arguments: $*"\n'


def run(script, *arguments, path="/usr/bin:/bin", cwd=None, **environment):
    return subprocess.run(
        [str(script), *arguments],
        env={"PATH": str(path), "HOME": "/nonexistent", **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
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
    folder.mkdir()
    shutil.copy(ROOT / "graft", folder)
    (folder / "requirements.lock").write_text("nothing==1\n")
    return folder


@pytest.fixture
def tools(tmp_path):
    """A PATH with the tools every machine has and neither Python, uv nor a compiler."""
    folder = tmp_path / "bin"
    folder.mkdir()
    names = ("sh", "dirname", "readlink", "cat", "cksum", "cut", "sed", "awk", "df", "getconf", "rm", "printf")
    for name in names:
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
    files = [ROOT / "graft", ROOT / ".ci" / "run"]
    done = subprocess.run([shellcheck, *files], capture_output=True, text=True, check=False)
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


def test_changed_lock_sets_up_again(project, tools):
    """What is installed is what the lock says; here, setting up needs the Python that is not there."""
    set_up(project)
    (project / "requirements.lock").write_text("nothing==2\n")
    assert "no usable Python" in run(project / "graft", path=tools).stderr


def test_moved_project_sets_up_again(project, tools):
    """An environment knows its own path."""
    set_up(project)
    moved = project.with_name("moved")
    project.rename(moved)
    assert "no usable Python" in run(moved / "graft", path=tools).stderr


def test_no_python_is_one_line_that_says_what_to_install(project, tools):
    """Which versions, and how to name one."""
    done = run(project / "graft", path=tools)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "needs Python" in done.stderr
    assert "GRAFT_PYTHON" in done.stderr


def test_python_that_does_not_run_is_passed_over(project, tools):
    """The shims of pyenv are on PATH and fail."""
    for name in ("python3.10", "python3.11", "python3.12", "python3.13", "python3"):
        write_executable(tools / name, "#!/bin/sh\nexit 127\n")
    assert "no usable Python" in run(project / "graft", path=tools).stderr


def test_no_compiler_is_one_line_that_says_what_to_install(project, tools):
    """One dependency has no wheel."""
    done = run(project / "graft", path=tools, GRAFT_PYTHON=sys.executable)
    assert "apt-get install g++" in done.stderr, done.stderr
    assert not (project / ".venv").exists()


def test_too_little_disk_is_said_before_anything_is_written(project, tools):
    """Half an environment helps nobody."""
    write_executable(tools / "g++", "#!/bin/sh\n")
    (tools / "df").unlink()
    write_executable(tools / "df", "#!/bin/sh\necho header\necho disk 9 9 1048576 9% /\n")
    done = run(project / "graft", path=tools, GRAFT_PYTHON=sys.executable)
    assert "5 GB of disk are needed" in done.stderr, done.stderr
    assert not (project / ".venv").exists()


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_failed_installation_is_not_taken_for_a_finished_one(project, tools, tool):
    """The next start tries again."""
    write_executable(tools / "g++", "#!/bin/sh\n")
    if tool == "uv":
        write_executable(tools / "uv", "#!/bin/sh\n[ $1 != pip ]\n")
    path = f"{tools}:{os.path.dirname(sys.executable)}"
    done = run(project / "graft", path=path, GRAFT_PYTHON=sys.executable, PIP_INDEX_URL="file:///nonexistent")
    assert done.returncode == 1
    assert "could not be installed" in done.stderr, done.stderr
    assert not (project / ".venv" / "graft-stamp").exists()
