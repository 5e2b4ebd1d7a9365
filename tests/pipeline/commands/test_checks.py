"""`./graft test`: its checks, the selection of tests, and the first failure."""

import types

import pytest
from command_line import make_typist

from kubeflow.cli import main
from pipeline.commands import checks


@pytest.fixture
def type_test(monkeypatch, capsys):
    """Returns a function that types `./graft test`, with checks that only say what they are; one of them may fail."""

    def type_it(*arguments, failing=""):
        started = []

        def run(command, **_):
            started.append(command[2:])  # behind `python -m`
            return types.SimpleNamespace(returncode=5 if command[2] == failing else 0)

        monkeypatch.setattr(checks.subprocess, "run", run)
        monkeypatch.setattr(checks, "install_browser", lambda: "")
        return make_typist(monkeypatch, capsys, main)("test", *arguments).code, started

    return type_it


@pytest.mark.parametrize(
    ("arguments", "selection"),
    [([], "not long"), (["--quick"], "not slow and not long"), (["--all"], "")],
)
def test_the_tests_are_those_that_are_asked_for(type_test, arguments, selection):
    """Behind ruff and mypy, which take seconds."""
    code, started = type_test(*arguments)
    assert code == 0
    assert [command[0] for command in started] == ["ruff", "ruff", "mypy", "pytest"]
    assert started[-1][started[-1].index("-m") + 1] == selection


def test_what_follows_goes_to_pytest_behind_our_own(type_test):
    """Pytest takes the last of two options that contradict each other."""
    _, started = type_test("--quick", "tests/schema", "-k", "gate", "-n", "0", "--pdb")
    assert started[-1][-6:] == ["tests/schema", "-k", "gate", "-n", "0", "--pdb"]


def test_a_check_that_fails_ends_the_command_with_its_exit_code(type_test):
    """The checks behind it do not run."""
    code, started = type_test("--coverage", failing="mypy")
    assert (code, started[-1]) == (5, ["mypy"])


def test_coverage_is_printed_by_folder_and_for_all(type_test):
    """By coverage itself, behind the tests."""
    _, started = type_test("--coverage")
    reports = [command for command in started if command[0] == "coverage"]
    assert [command[-1] for command in reports[:-1]] == [f"--include={folder}/*" for folder in checks.FOLDERS]
    assert reports[-1] == ["coverage", "report", "--format=total"]
    assert "--cov" in started[3]


def test_quick_and_all_contradict_each_other(type_test):
    assert type_test("--quick", "--all") == (2, [])


def test_the_browser_is_installed_for_all_tests_alone_and_advice_is_printed(monkeypatch, capsys):
    """A machine where it cannot be installed runs the other tests."""
    monkeypatch.setattr(checks, "install_browser", lambda: "The browser tests are skipped: chromium missing.")
    monkeypatch.setattr(checks, "run_checks", lambda *_: 0)
    typed = make_typist(monkeypatch, capsys, main)
    assert "browser" not in typed("test").out
    asked = typed("test", "--all")
    assert (asked.code, "The browser tests are skipped" in asked.out) == (0, True)
