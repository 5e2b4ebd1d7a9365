"""Reading of regular files; no other kind of file is opened."""

import os
import socket
import sys

import pytest

from serving.storage.regular import find_irregular, read_regular


@pytest.fixture(params=["pipe", "link to a pipe", "socket", "device"])
def irregular(request, tmp_path, monkeypatch):
    """Yields a path of a special file, and the name of its kind."""
    monkeypatch.chdir(tmp_path)
    if request.param == "device":
        yield "/dev/zero", "a device"
    elif request.param == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket")
            yield "socket", "a socket"
    else:
        os.mkfifo("pipe")
        os.symlink("pipe", "link")
        yield "link" if "link" in request.param else "pipe", "a named pipe"


def test_what_is_no_regular_file_is_refused_by_kind(irregular, monkeypatch):
    """Before it is opened, for opening alone may do something."""
    path, kind = irregular
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("opened"))
    assert find_irregular(path) == kind
    with pytest.raises(OSError, match=f"{kind}, which is no file"):
        read_regular(path)


def test_a_pipe_that_took_the_place_of_a_file_does_not_hang(tmp_path, monkeypatch):
    """Between the look and the opening: the open file is looked at as well."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"abc")
    before = os.stat(tmp_path / "file")
    monkeypatch.setattr(os, "stat", lambda _: before)
    with pytest.raises(OSError, match="a named pipe, which is no file"):
        read_regular(tmp_path / "pipe")


def test_a_file_and_a_link_to_one_are_read(tmp_path):
    """From the beginning, all or some bytes."""
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")
    assert (read_regular(tmp_path / "link"), read_regular(str(tmp_path / "file"), 2)) == (b"abc", b"ab")
    assert find_irregular(str(tmp_path / "file")) == find_irregular(str(tmp_path / "nowhere")) == ""
    with pytest.raises(IsADirectoryError):
        read_regular(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["check", "pipe"], 3),
        (["check", "--config", "pipe"], 2),
        (["init", "--config", "pipe"], 2),
        (["convert", "pipe", "out"], 3),
        (["run", "data", "--weights", "pipe"], 2),
        (["kubeflow", "submit", "pipe.yaml"], 2),
    ],
)
def test_a_pipe_as_an_argument_holds_nobody_up(arguments, code, tmp_path, monkeypatch, capfd):
    """For each argument that names a file."""
    from kubeflow.cli import main

    monkeypatch.chdir(tmp_path)
    for name in ("pipe", "pipe.yaml"):
        os.mkfifo(name)
    for label in ("cat", "dog"):
        for number in range(3):
            file = tmp_path / "data" / label / f"{number}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"abc")
    if arguments[0] == "run":  # a whole session would take this process's streams
        from pipeline.downloads.weights import find_weights
        from schema.errors import UsageError

        with pytest.raises(UsageError, match=r"weights: .*pipe: a named pipe, and no file"):
            find_weights("pipe", 32)
        return
    monkeypatch.setattr(sys, "argv", ["graft", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code
    assert "pipe" in capfd.readouterr().err


def test_a_prediction_of_a_pipe_says_what_it_is(tmp_path):
    """As for any unreadable file."""
    from serving.client.predict import explain_file

    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="a named pipe") as caught:
        read_regular(tmp_path / "pipe")
    assert explain_file(caught.value) == "cannot be read: a named pipe, which is no file"
