"""Runs beside a live version whose record is damaged, from the command to the report."""

import pytest
from damaged_files import DAMAGES

from components.example_gen import layout
from components.example_gen.lineage import NEW_SALT
from pipeline.check.start import find_early
from pipeline.config.load import load_config
from pipeline.workspace.workspace import Workspace
from schema.errors import UsageError
from serving.releases import releases, versions

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture
def model_dir(workspace):
    return str(Workspace(workspace).model_dir("graft"))


def damage_live(model_dir, damage):
    damage(f"{versions.find_live(model_dir).path}/{versions.RECORD}")


def test_run_is_refused_and_goes_on_by_force_or_after_a_rollback(run, workspace, small_digits, model_dir):
    """By force, the report says in a line what was not done; the split of that run holds from then on."""
    run()
    damage_live(model_dir, DAMAGES["NUL bytes"])
    with pytest.raises(
        UsageError, match=r"graft\.json: not JSON: .*rollback makes the version before it live; --force"
    ):
        run()
    config = load_config(None, {"data": str(small_digits), "out": str(workspace)})
    problems = find_early(config, layout.list_images(config.data)).problems
    assert "its test images are unknown" in problems[0]

    forced, printed = run(force=True, warm_start=True)
    [damaged, live] = versions.find_versions(model_dir)
    assert forced.result.pushed_now
    assert forced.result.warnings[-1].startswith(
        f"the record of version {damaged.number}, which is live, cannot be read"
    )
    assert "Note: the record of version" in " ".join(printed.split())
    assert f"not compared with version {damaged.number}, whose record cannot be read" in " ".join(printed.split())
    assert live.record.resolved.salt == NEW_SALT

    again, _ = run(head_epochs=3)
    assert again.result.ingest.salt == live.record.salt
    assert again.result.evaluation.baseline.compared
    if again.result.pushed_now:
        damage_live(model_dir, DAMAGES["a list"])
        with pytest.raises(UsageError):
            run(head_epochs=2)
        releases.roll_back(model_dir)
    assert run(head_epochs=2)[0].result.ingest.salt == live.record.salt
