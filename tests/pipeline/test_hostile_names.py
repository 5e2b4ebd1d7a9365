"""Hostile class and file names: no command prints one to the terminal unescaped."""

import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from example_outcome import CONFIG, RESULT, change_result
from made_up_evaluation import EVALUATION
from terminals import open_terminal

from pipeline.console.printing import make_console
from pipeline.local.report import print_report

ROOT = pathlib.Path(__file__).parents[2]
CLASSES = ["\x1b[2J\x1b]0;title\x07cat", ":dog:\u009b31m[bold]", "e\u0301\u202egpj\r\n.x"]
SHOWN = [r"\x1b[2J\x1b]0;title\x07cat", r":dog:\x9b31m[bold]", "\xe9\\u202egpj\\r\\n.x"]  # a class is in NFC
FILES = ["0:smile:[red].png", "\x1b[31m1\r.png", "2\n.png", "3\u202egpj.png", "4e\u0301.png"]
# A fork of the warm process has its streams, whatever PYTHONIOENCODING says.
IN_ASCII = """
import runpy, sys
sys.stdout, sys.stderr = (open(number, "w", encoding="ascii", closefd=False) for number in (1, 2))
sys.argv[0] = sys.argv.pop(1)
runpy.run_path(sys.argv[0], run_name="__main__")
"""
# But for the line break that ends a line: C0, DEL, C1, changes of direction, separators of lines.
COMMANDS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.fixture
def data(tmp_path, encode_image):
    """A folder of the classes, with a pipe; a file in it is none, and is named by its hostile name."""
    data = tmp_path / "a\x1b[2J\nb\u009b"
    for row, label in enumerate(CLASSES):
        (data / label).mkdir(parents=True)
        for column, name in enumerate(FILES * 3):
            name = f"{column}{name}"
            (data / label / name).write_bytes(encode_image("png", seed=100 * row + column))
    (data / CLASSES[0] / "\x1b[1mtext.png").write_bytes(b"no image")
    os.mkfifo(data / CLASSES[1] / "\x1b[5mpipe.png")
    return data


@pytest.fixture
def type_graft(warm_python, tmp_path):
    """Types a command; what it prints must command no terminal, in any encoding."""

    def type_command(*arguments, code=0, program=warm_python.program, encoding="utf-8", **environment):
        before = ["-c", IN_ASCII] if encoding == "ascii" else []
        done = subprocess.run(
            [program, *before, ROOT, *arguments],
            cwd=tmp_path, env=os.environ | environment, capture_output=True, timeout=300, check=False,
        )  # fmt: skip
        out, err = done.stdout.decode(encoding), done.stderr.decode(encoding)
        assert done.returncode == code, err
        assert COMMANDS.findall(out + err) == []
        assert "Traceback" not in out + err
        return out, err

    return type_command


def test_check_shows_names_and_obeys_none(type_graft, data):
    """Each class on one line of the table, the pipe by name and kind."""
    out, _ = type_graft("check", data, COLUMNS="200")
    for shown in SHOWN:
        assert re.search(rf"^ {re.escape(shown)} +1[56] ", out, re.MULTILINE), out
    assert r"\x1b[1mtext.png" in out
    assert r"1 named pipe, which is no file (:dog:\x9b31m[bold]/\x1b[5mpipe.png)" in out


@pytest.mark.long  # tests/schema/test_text.py has the escapes
def test_in_an_encoding_without_the_characters_they_are_escaped(type_graft, data):
    """Python would end in a traceback; JSON stays JSON."""
    found = json.loads(type_graft("check", "--json", data, encoding="ascii")[0])
    assert [entry["path"] for entry in found["left_out"]] == [f"{CLASSES[0]}/\x1b[1mtext.png"]
    assert set(found["report"]["counts"]["train"]) <= {CLASSES[0], CLASSES[1], CLASSES[2].replace("e\u0301", "\xe9")}
    _, err = type_graft("predict", "café/0.jpg", "--model", "nö\x1b[2J", encoding="ascii", code=2)
    assert r"graft: n\xf6\x1b[2J: no model here" in err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["check", "no\nsuch\x1b[2J"], 3),
        (["check", "--\x1b[2J"], 2),
        (["init", "--config", "a\nb\x1b/c"], 2),
        (["predict", "x", "--model", "a\rb"], 2),
        (["predict", "x", "--server", "\x1b[2J\n"], 2),
        (["run", "d", "--out", "e\n\x1b", "--weights", "w\x9b\n"], 3),
        (["run", "d", "--config", "c\n\x1b"], 2),
        (["run", "d", "--fine-tune-from", "\x1b[2J\n"], 2),
        (["releases", "--out", "r\n\x1b"], 2),
        (["convert", "c\n\x1b", "o"], 3),
        (["kubeflow", "submit", "k\n\x1b.yaml"], 2),
    ],
)
def test_no_message_is_torn(arguments, code, tmp_path, monkeypatch, capfd):
    """Each of its lines says who speaks."""
    from kubeflow.cli import main

    monkeypatch.setattr(sys, "argv", ["graft", *arguments])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capfd.readouterr()
    assert ended.value.code == code, err
    assert COMMANDS.findall(out + err) == []
    assert all(line.startswith(("graft: ", "  ", "Usage:", "Try ", "Error: ", "Did you", "Model: ")) or not line
               for line in err.split("\n")), err  # fmt: skip


def test_a_name_that_is_not_utf8_is_named_and_refused(type_graft, data):
    """TensorFlow could not open it."""
    (data / CLASSES[0] / os.fsdecode(b"\xff\x1b.png")).write_bytes(b"")
    _, err = type_graft("check", data, code=3)
    assert "is not UTF-8. Rename it" in err


def test_the_report_shows_names_and_no_picture():
    """Classes, warnings, the gate's and the server's words."""
    console = make_console(file=io.StringIO(), width=100)
    counts = {split: dict.fromkeys(CLASSES, 9) for split in ("train", "val", "test")}
    ingest = {"counts": counts, "ignored": {"side file": {"\x1b[2J\n": 1}}}
    evaluation = {"blessed": False, "failures": [f"{CLASSES[0]} is lost\n:dog:"]}
    outcome = change_result(
        ingest=RESULT.ingest.model_copy(update=ingest),
        warnings=[f"few of {CLASSES[1]}"],
        evaluation=EVALUATION.model_copy(update=evaluation),
    )
    print_report(outcome, CONFIG, console)
    printed = console.file.getvalue()
    assert COMMANDS.findall(printed) == []
    assert r"\x1b[2J\x1b]0;title\x07cat 27, :dog:\x9b31m[bold] 27" in printed
    assert r"is lost\n:dog:" in printed


def test_on_a_terminal_no_name_moves_the_cursor(warm_python, data, tmp_path):
    """The bar's own escapes are there, and none of the names'."""
    parent, child = open_terminal()
    process = subprocess.Popen(
        [warm_python.program, ROOT, "check", data], cwd=tmp_path, stdout=child, stderr=child, close_fds=True,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "150"},
    )  # fmt: skip
    os.close(child)
    seen = b""
    try:
        while chunk := os.read(parent, 4096):
            seen += chunk
    except OSError:  # as Linux tells the end of a terminal
        pass
    os.close(parent)
    assert process.wait(timeout=300) == 0
    text = seen.decode()
    assert r"\x1b[2J" in text
    for command in ("\x1b[2J", "\x1b]0;", "\x9b", "\u202e", "\x1b[5m", "\U0001f436"):
        assert command not in text


@pytest.mark.long
@pytest.mark.slow
def test_a_whole_run_and_what_comes_after_it(type_graft, warm_python, data):
    """Pushed, listed, asked; then refused by the gate. The list of files left out is JSON with the true names."""
    assert "graft.toml" in type_graft("init", data)[0]
    (data.parent / "graft.toml").unlink()
    small = ["--weights", "random", "--image-size", "32", "--head-units", "8", "--fine-tune-epochs", "0"]
    run = ["run", data, *small, "--head-epochs", "1", "--min-accuracy", "0"]
    out, _ = type_graft(*run, program=warm_python.small_base)
    assert SHOWN[0] in out
    assert "Pushed: " in out
    type_graft("releases")
    json.loads(type_graft("releases", "--json")[0])
    image = next((data / CLASSES[2]).iterdir())
    out, _ = type_graft("predict", image, data / CLASSES[0] / "\x1b[1mtext.png", code=3)
    assert len(out.splitlines()) == 1
    answer = json.loads(type_graft("predict", "--json", image, encoding="ascii")[0])
    assert answer["path"] == str(image)
    assert set(answer["probabilities"]) == {CLASSES[0], CLASSES[1], CLASSES[2].replace("e\u0301", "\xe9")}
    for number in range(9):
        shutil.copy(data / CLASSES[0] / "\x1b[1mtext.png", data / CLASSES[1] / f"\x1b[2J\n{number}.png")
    _, err = type_graft(*run, program=warm_python.small_base, code=3)
    assert r"max_bad_fraction" in err
    assert r"/\x1b[2J\n0.png: " in err
    (data / "new\x1b[2J\n").mkdir()
    for number in range(3):
        (data / "new\x1b[2J\n" / f"{number}.png").write_bytes(b"")
    _, err = type_graft(*run, program=warm_python.small_base, code=3)
    assert r"unknown class: the folder new\x1b[2J\n is not" in err
