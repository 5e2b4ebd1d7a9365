"""docs/commands.md: the help of every command, as click prints it."""

import pathlib

import pytest
from click.testing import CliRunner

from kubeflow.cli import cli
from kubeflow.command_reference import render_commands

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "commands.md"
OF_A_LEVEL = [["run"], ["releases"], ["releases", "rollback"], ["kubeflow", "submit"]]


def test_page_is_that_of_the_source():
    """The page is made by: .venv/bin/python -m kubeflow.command_reference docs/commands.md."""
    assert PAGE.read_text(encoding="utf-8") == render_commands()


@pytest.mark.parametrize("command", [[], *OF_A_LEVEL], ids=" ".join)
def test_page_has_what_help_prints(command):
    """The texts are equal, at 80 columns."""
    done = CliRunner().invoke(cli, [*command, "--help"], prog_name="./graft", terminal_width=78)
    heading = " ".join(["## ./graft", *command])
    assert f"\n{heading}\n\n```text\n{done.stdout}```\n" in PAGE.read_text(encoding="utf-8")


def test_page_says_which_command_passes_unknown_options_on():
    """`./graft` refuses no option of pytest's."""
    before, _, after = render_commands().partition("Other options are passed on.")
    assert before.endswith("## ./graft test\n\n")
    assert "Other options" not in after
