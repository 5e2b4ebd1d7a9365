"""Lines that a run prints wrap between words, and commands are those that the user can type."""

import io
import os

import pytest
from rich.console import Console
from terminals import open_terminal

from pipeline.console.printing import (
    as_called,
    find_command,
    print_error,
    print_indented,
    print_labelled,
    print_unbroken,
)
from pipeline.console.terminal import quietly
from schema.errors import UsageError

PATH = "/home/somebody/a-very-long-folder-name/another-one/graft-out/runs/20261126T181102-822Z-3f2a/quarantine.jsonl"
TEXT = f"2 broken files, 1 copy of an image; {PATH} says why, and ./graft predict cat.jpg asks"


def lay_out(width, terminal=True, text=TEXT, label="Left out:"):
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    print_labelled(console, label, text)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [20, 60, 80, 120])
def test_text_wraps_between_words_and_is_indented_below_its_label(width):
    """A path is one word: it stays whole, even where it is longer than a line."""
    lines = lay_out(width)
    assert lines[0].startswith("Left out: 2 broken")
    assert all(line.startswith(" " * 10) and line[10] != " " for line in lines[1:])
    assert " ".join(line.strip() for line in lines) == f"Left out: {TEXT}"
    assert sum(PATH in line for line in lines) == 1
    assert all(len(line) <= max(width, 40) or line.strip() == PATH for line in lines)


def test_text_is_one_line_in_a_file():
    """Other programs read it by lines."""
    assert lay_out(60, terminal=False) == [f"Left out: {TEXT}"]


def test_a_coloured_label_is_as_wide_as_another():
    """Markup takes no room; text in brackets that is escaped is shown."""
    assert lay_out(60, label="[yellow]Note:[/]", text=r"\[sic] fine") == ["Note:     [sic] fine"]


def test_an_indented_line_goes_on_two_columns_deeper():
    """So that it is seen to be one."""
    console = Console(file=io.StringIO(), width=46, force_terminal=True, color_system=None)
    print_indented(console, "head 1/5: loss 0.685, accuracy 0.788; val loss [0.274]", 4)
    assert console.file.getvalue() == "    head 1/5: loss 0.685, accuracy 0.788; val\n      loss [0.274]\n"


def test_a_command_is_never_wrapped():
    """It is to be copied; brackets in it are no markup."""
    console = Console(file=io.StringIO(), width=60, force_terminal=True, color_system=None)
    command = f"./graft predict '{PATH}[1].jpg' --model graft-out/serving/graft"
    print_unbroken(console, "Next:", command)
    assert console.file.getvalue() == f"Next:     {command}\n"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("x.sqlite: damaged. Move it aside with {}, and run again.", "./graft repair --out 'my graft out of today'"),
        ("2 HEIC and 1 TIFF can be read as JPEG: {}", "./graft convert photos photos-jpeg"),
        ("bad record. {} makes the version before it live; --force trains all the same.", "./graft releases rollback"),
        (
            "not pushed: bad. {} asks it all the same.",
            "./graft predict a.jpg --out o --run 20261126T181102-822Z-3f2a",
        ),
        ("no gain on the best kept version: {}, or remove it.", "./graft releases promote 1795731062"),
        ("to go on with the folders' classes: {}; both models are compared.", "--classes 'big owls,cats,small dogs'"),
        ("no CUDA libraries in this environment; {} installs them.", "GRAFT_CUDA=1 ./graft run"),
        ("beam.job_endpoint: missing; {} starts one.", "`.venv/bin/python -m pipeline.beam.job_service --port 8099`"),
        ("other data needs another workspace, as in {}.", "./graft run photos --out other-out --image-size 96"),
    ],
)
@pytest.mark.parametrize("called", ["./graft", "/my code/graft"])
def test_a_command_in_a_sentence_stays_on_one_line(monkeypatch, text, kept, called):
    """At any width: in what a run prints, and in an error; the words around it wrap."""
    monkeypatch.setenv("GRAFT_COMMAND", called)
    for width in range(30, 90):
        lines = lay_out(width, text=text.format(kept))
        assert sum(as_called(kept) in line for line in lines) == 1
        assert all(len(line) <= max(width, 40) or as_called(kept) in line for line in lines)


@pytest.mark.parametrize(
    ("called", "command"),
    [(None, "./graft"), ("../main/graft", "../main/graft"), ("/my code/graft", "'/my code/graft'")],
)
def test_commands_are_printed_as_graft_was_called(monkeypatch, called, command):
    """From another folder, or through a link, ./graft is no such file."""
    monkeypatch.delenv("GRAFT_COMMAND", raising=False)
    if called:
        monkeypatch.setenv("GRAFT_COMMAND", called)
    assert find_command() == command
    assert as_called("Type ./graft run, not ./graft-out or `./graft init`.") == (
        f"Type {command} run, not ./graft-out or `{command} init`."
    )
    assert lay_out(300)[0].endswith(f"{command} predict cat.jpg asks")


def test_errors_wrap_between_words_on_a_terminal(monkeypatch):
    """And stay a line each in a file."""
    error = UsageError(f"{PATH}: no such folder. Name a folder with one sub-folder per class.", "  a.jpg: empty file")
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((60, 20)))
    parent, child = open_terminal()
    with os.fdopen(child, "w") as terminal:
        print_error(error, terminal)
        lines = os.read(parent, 10_000).decode().splitlines()
    os.close(parent)
    assert lines == ["graft:", f"  {PATH}:", "  no such folder. Name a folder with one sub-folder per",
                     "  class.", "  a.jpg: empty file"]  # fmt: skip
    file = io.StringIO()
    print_error(error, file)
    assert file.getvalue() == f"graft: {error}\n"


def test_what_compiled_code_says_between_items_is_dropped(capfd):
    """And nothing else is: an error that is printed between two items arrives."""

    def compute():
        for number in range(2):
            os.write(2, b"Corrupt JPEG data")
            yield number

    for number in quietly(compute()):
        os.write(2, f"{number};".encode())
    assert capfd.readouterr().err == "0;1;"


def test_an_error_in_an_item_restores_the_stream(capfd):
    """It must be told."""

    def fail():
        yield 1
        raise ValueError("here")

    with pytest.raises(ValueError, match="here"):
        list(quietly(fail()))
    os.write(2, b"told")
    assert capfd.readouterr().err == "told"
