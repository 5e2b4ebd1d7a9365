"""Escaping of names: nothing printed controls a terminal, and JSON keeps the true name."""

import json
import subprocess

import pytest

from schema.text import escape_json, list_some, printable, printable_lines, quote

PERSIAN = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
HOSTILE = [
    "a\x1b[2J",
    "a\x9bb",
    "a\rb",
    "a\nb",
    "a\u202eb",
    "a\u2066b",
    "caf\udce9",
    "a\u2028b",
    "\x7f",
    "\0",
    "a\u00adb",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_what_would_command_a_terminal_is_escaped(name):
    """C0, C1, line breaks, bidirectional controls, invisible characters, bytes that are not UTF-8; escaped once."""
    shown = printable(name)
    assert shown.isprintable()
    assert shown.startswith(("a", "caf", "\\"))
    assert printable(shown) == shown


@pytest.mark.parametrize(
    "name",
    [
        "café",
        "cafe\u0301",
        ":dog:",
        "[bold]",
        "हाथी",
        PERSIAN,
        "👩\u200d🔬",
        "猫 1.jpg",
    ],
)
def test_other_names_stay(name):
    """In any script, with joiners, and with characters of markup languages."""
    assert printable(name) == name
    assert printable_lines(f"{name}\n{name}") == f"{name}\n{name}"


@pytest.mark.parametrize("name", [*HOSTILE, "it's", "a b", "\x1b'\\ x", "plain.jpg"])
def test_a_printed_command_names_the_very_file(name):
    """Bash is the oracle: it parses the printed text to the bytes of the name."""
    if "\0" in name:
        pytest.skip("no file has such a name")
    written = subprocess.run(["bash", "-c", f"printf %s {quote(name)}"], capture_output=True, check=True).stdout
    assert quote(name).isprintable()
    assert written == name.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_json_keeps_the_true_name_in_any_encoding(encoding):
    """No character of the output controls a terminal."""
    names = [*HOSTILE, "café", "👩\u200d🔬", "猫"]
    text = escape_json(json.dumps(names, ensure_ascii=False, indent=1), encoding)
    assert json.loads(text.encode(encoding).decode(encoding)) == names
    assert all(c == "\n" or c.isprintable() or c == "\u200d" for c in text)
    assert ("猫" in text) == (encoding == "utf-8")


def test_a_list_says_how_many_it_leaves_out():
    """None of a list that is short enough, and of an empty one."""
    names = ["a", "b", "c", "d", "e"]
    assert [list_some(names[:count]) for count in (0, 1, 3)] == ["", "a", "a, b, c"]
    assert list_some(names) == "a, b, c and 2 more"
    assert list_some(names, 4) == "a, b, c, d and 1 more"
