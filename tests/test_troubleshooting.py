"""docs/troubleshooting.md has each error of the sources, and no other."""

import ast

import error_texts
import pytest

SOURCE = """
HINT = "Name another."
class OddError(GraftError): ...
def check(name, big):
    why = "large" if big else "small"
    raise OddError(f"{name}: too {why}. " + HINT)
"""


def test_every_error_is_on_the_page_and_the_page_has_no_other():
    """`.venv/bin/python tests/fixtures/error_texts.py` prints the same."""
    missing, unknown = error_texts.compare()
    assert missing == []
    assert unknown == []


def test_errors_without_a_text_of_their_own_are_known():
    """One more needs a look: which function writes its text, and does WITHOUT_TEXT name that?"""
    expected = {path: number for path, (number, _) in error_texts.WITHOUT_TEXT.items() if number}
    assert error_texts.count_without_text() == expected


def test_functions_that_write_texts_are_there():
    """By their names in WITHOUT_TEXT."""
    for path, (_, names) in error_texts.WITHOUT_TEXT.items():
        functions = {function.name for function in error_texts.list_functions(error_texts.read_sources()[path])}
        assert set(names) <= functions, path


def test_forms_of_a_text_are_read():
    """Values become gaps; a local name and a constant stand for their texts."""
    tree = ast.parse(SOURCE)
    [function] = error_texts.list_functions(tree)
    names = error_texts.find_assigned([*tree.body, *ast.walk(function)], {})
    call = next(node for node in ast.walk(function) if isinstance(node, ast.Call))
    assert error_texts.name_called(call) == "OddError"
    assert error_texts._read_call(call, names) == ["…: too large. Name another.", "…: too small. Name another."]


def test_error_classes_are_found():
    """Those of the sources, whatever they derive from."""
    assert {
        "GraftError",
        "DataError",
        "ServerError",
        "ConversionError",
        "ServingError",
    } <= error_texts.find_error_names()


@pytest.mark.parametrize(
    ("row", "text", "found"),
    [
        ("…: no such folder", "…: no such folder. Name another.", True),
        ("no such … here", "…: no such folder here", True),
        ("here no such", "…: no such folder here", False),
        ("cannot be read", "…: the labels of the images in the store cannot be read: …", False),
    ],
)
def test_row_is_that_of_a_text(row, text, found, monkeypatch):
    """In the same order, and not a small part of it: that would be in many texts."""
    monkeypatch.setattr(error_texts, "find_texts", lambda: [error_texts.ErrorText("a.py:1", text)])
    monkeypatch.setattr(error_texts, "read_scripts", lambda: [])
    monkeypatch.setattr(error_texts, "read_rows", lambda: [row])
    assert error_texts.compare() == (([], []) if found else ([f"a.py:1: {text}"], [row]))
