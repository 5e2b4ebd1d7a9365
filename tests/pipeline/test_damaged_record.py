"""Runs beside a live version whose record is damaged, from the command to the report."""

import json

import pytest
from damaged_files import DAMAGES

from components import layout
from components.lineage import NEW_SALT
from pipeline import check
from pipeline.load import load_config
from pipeline.workspace import Workspace
from schema.errors import UsageError
from serving import releases, versions

pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_run_is_refused_and_goes_on_after_a_rollback_or_by_force(run, workspace, small_digits):
    """By force, the report says in a line what was not done, and the split holds for the next run."""
    model_dir = str(Workspace(workspace).model_dir("graft"))
    first, _ = run()
    record = versions.find_live(model_dir).path + "/" + versions.RECORD
    DAMAGES["NUL bytes"](record)
    with pytest.raises(
        UsageError, match=r"graft\.json: not JSON: .*rollback makes the version before it live; --force"
    ):
        run()
    config = load_config(None, {"data": str(small_digits), "out": str(workspace)})
    assert (
        "nobody knows which images it was tested on"
        in check.inspect(config, layout.list_images(config.data)).problems[0]
    )

    forced, printed = run(force=True, warm_start=True)
    damaged = versions.find_versions(model_dir)[0]
    assert forced.pushed_now
    assert forced.warnings[-1].startswith(
        f"the record of version {damaged.number}, which is live, cannot be read (not JSON"
    )
    assert (
        f"Note:     {forced.warnings[-1][:60]}" in " ".join(printed.split("\n")).replace("  ", " ") or "Note" in printed
    )
    assert f"not compared with version {damaged.number}, whose record cannot be read" in " ".join(printed.split())
    assert versions.find_live(model_dir).record["resolved"]["salt"] == NEW_SALT

    salt = versions.find_live(model_dir).record["salt"]
    again, _ = run(head_epochs=3)
    assert again.ingest["salt"] == salt
    assert again.evaluation["baseline"]["compared"]

    DAMAGES["a list"](versions.find_live(model_dir).path + "/" + versions.RECORD)
    with pytest.raises(UsageError):
        run(head_epochs=2)
    releases.roll_back(model_dir)
    assert json.dumps(run(head_epochs=2)[0].ingest["salt"]) == str(salt)
