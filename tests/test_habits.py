"""What runs before a commit and on GitHub is what `./graft test` runs."""

import pathlib
import shlex

import yaml

from pipeline.commands.checks import LINTERS

ROOT = pathlib.Path(__file__).parents[1]


def test_a_commit_is_checked_by_the_linters_of_graft_test():
    """The same tools, by the same Python, with the same arguments and in the same order."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    own = [shlex.split(hook["entry"]) for hook in hooks if hook["language"] == "system"]
    assert own == [[".venv/bin/python", "-m", *linter] for linter in LINTERS]


def test_github_runs_graft_test_on_both_stacks():
    """And nothing besides: what a machine needs, `./graft` sets up."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
    job = workflow["jobs"]["test"]
    assert [row["python"] for row in job["strategy"]["matrix"]["include"]] == ["3.10", "3.13"]
    assert [step["run"] for step in job["steps"] if "run" in step] == ["./graft test"]
    assert (ROOT / ".ci/run").read_text().splitlines()[-1] == "exec ./graft test"
