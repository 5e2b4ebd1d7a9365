"""`./graft releases`, as a user types it."""

import io
import json
import pathlib
import subprocess
import sys

import pytest
from damaged_files import SHAPES
from rich.console import Console

from pipeline.local.model_server import _find_image
from pipeline.workspace.example_image import PLACEHOLDER
from pipeline.workspace.pushed_models import print_releases, render_json
from pipeline.workspace.workspace import open_workspace
from serving.client.predict import find_version
from serving.releases.releases import mark_canary

ROOT = pathlib.Path(__file__).parents[3]
OLDER, BEFORE, CANARY, LIVE, WITHDRAWN = 1790000000, 1790000500, 1790000999, 1790001000, 1790000700


def graft(*arguments, cwd):
    command = [sys.executable, str(ROOT), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


def make_version(folder, record=None):
    """Makes a folder with the files that Graft reads: 1000 bytes and the record."""
    (folder / "assets.extra").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(bytes(1000))
    if record is not None:
        (folder / "assets.extra/graft.json").write_text(json.dumps(record))


@pytest.fixture
def workspace(tmp_path):
    """The workspace of `./graft run`, with a version in each state; yields the folder of the model."""
    folder = tmp_path / "graft-out/serving/graft"
    for number in (OLDER, BEFORE):
        make_version(folder / str(number))
    make_version(folder / f"withdrawn-{WITHDRAWN}", {})
    make_version(folder / str(CANARY), {"pushed_at": "2026-11-25T13:09:00+00:00", "metrics": {"accuracy": 0.98765}})
    make_version(folder / str(LIVE), {"run_id": "20261125T130749-090Z-3f2a", "metrics": {"accuracy": 0.9}})
    mark_canary(str(folder / str(CANARY)))
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def rows(printed):
    """Returns the cells of each line that begins with a number."""
    lines = [line.split() for line in printed.splitlines()]
    return {int(cells[0]): cells[1:] for cells in lines if cells and cells[0].isdigit()}


@pytest.mark.parametrize("command", [[], ["list"]])
def test_table_shows_each_version_with_its_state(workspace, tmp_path, command):
    """Newest first; the time is the record's, or the number."""
    done = graft("releases", *command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = rows(done.stdout)
    assert list(found) == [LIVE, CANARY, WITHDRAWN, BEFORE, OLDER]
    assert [cells[0] for cells in found.values()] == ["live", "canary", "withdrawn", "older", "older"]
    assert found[CANARY][1:4] == ["2026-11-25", "13:09", "0.988"]
    assert found[LIVE] == ["live", "2026-09-21", "14:30", "0.900", "20261125T130749-090Z-3f2a", "1.1", "kB"]
    assert found[OLDER] == ["older", "2026-09-21", "14:13", "1.0", "kB"]


def test_table_fits_on_a_narrow_terminal(workspace, tmp_path):
    """80 columns, with nothing cut off."""
    printed = graft("releases", cwd=tmp_path).stdout
    assert "…" not in printed
    assert max(map(len, printed.splitlines()[1:7])) <= 80


@pytest.mark.parametrize("width", [60, 80, 120])
def test_nothing_is_left_out_on_a_terminal(workspace, width):
    """A row for each version where the table fits; else two lines."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    print_releases(str(workspace), console)
    lines = console.file.getvalue().splitlines()[1:-1]
    text = "\n".join(lines)
    assert len(lines) == (10 if width == 60 else 6)
    assert max(map(len, lines)) <= width
    assert "…" not in text
    for shown in (str(LIVE), "live", "2026-09-21 14:30", "0.900", "20261125T130749-090Z-3f2a", "1.1 kB", "withdrawn"):
        assert shown in text


@pytest.mark.parametrize("terminal", [True, False])
def test_a_large_withdrawn_version_is_not_cut_off(workspace, terminal):
    """A row of 81 characters; off a terminal the row stays, and is long."""
    (workspace / f"withdrawn-{WITHDRAWN}" / "large").write_bytes(bytes(114_100_000 // 1000) * 10)
    console = Console(file=io.StringIO(), width=60, force_terminal=terminal, color_system=None)
    print_releases(str(workspace), console)
    printed = console.file.getvalue()
    assert "…" not in printed
    assert ("20261125T130749-090Z-3f2a" in rows(printed)[LIVE]) != terminal
    assert "20261125T130749-090Z-3f2a" in printed


def test_other_programs_get_the_same_as_json(workspace, tmp_path):
    """One object; what is not known is null."""
    tree = json.loads(graft("releases", "--json", cwd=tmp_path).stdout)
    assert (tree["model"], tree["labels"]) == ("graft", {})
    live, oldest = tree["versions"][0], tree["versions"][-1]
    assert (live["version"], live["state"], live["accuracy"]) == (LIVE, "live", 0.9)
    assert oldest == {
        "version": OLDER,
        "state": "older",
        "pushed_at": "2026-09-21T14:13:20+00:00",
        "accuracy": None,
        "run_id": None,
        "bytes": 1000,
        "path": str(workspace.relative_to(tmp_path) / str(OLDER)),
        "problem": None,
    }


def test_number_that_is_no_time_is_not_shown_as_one(tmp_path):
    """Of versions that somebody has numbered by hand, and of the far future."""
    for number in (1, 99999999999):
        make_version(tmp_path / "graft-out/serving/graft" / str(number))
    tree = json.loads(graft("releases", "--json", cwd=tmp_path).stdout)
    assert [version["pushed_at"] for version in tree["versions"]] == [None, None]


def test_labels_that_lag_behind_are_said(workspace, tmp_path):
    """Labels are late after a moved folder or an interrupted command, until the next change."""
    lag = "the next push, rollback, promote or keep brings it up to date"
    assert lag in graft("releases", cwd=tmp_path).stdout
    assert graft("releases", "keep", 9, cwd=tmp_path).returncode == 0
    printed = graft("releases", cwd=tmp_path).stdout
    assert f"canary is {CANARY}, stable is {LIVE}" in printed
    assert lag not in printed


def test_rollback_says_what_is_live(workspace, tmp_path):
    """And what became of the canary."""
    done = graft("releases", "rollback", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"Withdrawn: graft-out/serving/graft/withdrawn-{LIVE}",
        f"Live:      graft-out/serving/graft/{BEFORE}",
        f"Canary:    graft-out/serving/graft/{BEFORE - 1}",
        f"Before:    version {LIVE} was live, version {CANARY} the canary",
    ]
    assert rows(graft("releases", cwd=tmp_path).stdout)[BEFORE][0] == "live"
    assert (workspace.parent / "models.config").exists()


def test_canary_can_be_withdrawn(workspace, tmp_path):
    """What is live is live."""
    done = graft("releases", "rollback", "--canary", cwd=tmp_path)
    assert f"withdrawn-{CANARY}" in done.stdout
    assert f"Live:      graft-out/serving/graft/{LIVE}" in done.stdout
    assert "Canary" not in done.stdout
    assert done.stdout.endswith(f"Before:    version {LIVE} was live, version {CANARY} the canary\n")


@pytest.mark.parametrize(("arguments", "gone"), [([], CANARY), ([WITHDRAWN], f"withdrawn-{WITHDRAWN}")])
def test_promotion_says_what_is_live(workspace, tmp_path, arguments, gone):
    """Its new number is the time; the numbers before it are those of the trial."""
    done = graft("releases", "promote", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    live = done.stdout.splitlines()[0].rpartition("/")[2]
    assert int(live) > LIVE
    assert live in names(workspace)
    assert str(gone) not in names(workspace)
    assert done.stdout.splitlines()[-1] == f"Before:    version {LIVE} was live, version {CANARY} the canary"


@pytest.mark.parametrize("named", ["withdrawn-{0}", "graft-out/serving/graft/withdrawn-{0}", "{1}/withdrawn-{0}/"])
def test_version_is_promoted_by_the_folder_that_rollback_printed(workspace, tmp_path, named):
    """The name alone, or its path, as it can be copied."""
    done = graft("releases", "promote", named.format(WITHDRAWN, workspace), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[0].rpartition("/")[2]) > LIVE
    assert f"withdrawn-{WITHDRAWN}" not in names(workspace)


@pytest.mark.parametrize(
    "named", ["newest", "withdrawn-", "-", "20261126195812123456", "٣", "graft-out/serving/birds/{0}", "withdrawn-{0}x"]
)
def test_anything_else_is_no_version(workspace, tmp_path, named):
    """A folder of another model is refused as well; nothing changes."""
    before = names(workspace)
    done = graft("releases", "promote", "--", named.format(WITHDRAWN), cwd=tmp_path)
    assert done.returncode == 2
    assert "VERSION: expected a number, or a folder in graft-out/serving/graft such as withdrawn-" in done.stderr
    assert names(workspace) == before


def test_keep_says_what_is_gone(workspace, tmp_path):
    """The command names the removed versions, or says none."""
    assert f"Removed:   {OLDER}\n" in graft("releases", "keep", 3, cwd=tmp_path).stdout
    assert str(OLDER) not in names(workspace)
    assert "Removed:   none\n" in graft("releases", "keep", 3, cwd=tmp_path).stdout
    assert graft("releases", "keep", 0, cwd=tmp_path).returncode == 2


def test_workspace_and_model_can_be_named(workspace, tmp_path):
    """From anywhere."""
    make_version(workspace.parent / "birds" / "7")
    done = graft("releases", "list", "--out", "graft-out", "--model", "birds", cwd=tmp_path)
    assert list(rows(done.stdout)) == [7]


def test_workspace_is_that_of_the_configuration(workspace, tmp_path):
    """Where `./graft run` pushes to."""
    (tmp_path / "graft-out").rename(tmp_path / "elsewhere")
    (tmp_path / "graft.toml").write_text('data = "photos"\nout = "elsewhere"\n')
    assert LIVE in rows(graft("releases", cwd=tmp_path).stdout)


def test_folder_whose_number_is_too_large_is_named(workspace, tmp_path):
    """In the list, and where there is no other."""
    (workspace / str(LIVE)).rename(workspace / "20261126195812123456")
    done = graft("releases", cwd=tmp_path)
    assert LIVE not in rows(done.stdout)
    assert (
        "Passed over: 20261126195812123456. The number of a version is 9223372036854775807 at the most" in done.stdout
    )
    for path in list(workspace.iterdir()):
        if not path.name.startswith("2"):
            path.rename(tmp_path / path.name)
    assert "Passed over: 20261126195812123456" in graft("releases", cwd=tmp_path).stderr


def test_two_models_must_be_told_apart(workspace, tmp_path):
    """They are listed."""
    make_version(workspace.parent / "birds" / "7")
    for command in ([], ["rollback"]):
        done = graft("releases", *command, cwd=tmp_path)
        assert done.returncode == 2
        assert "more than one model here. Name one with --model: birds, graft." in done.stderr
    assert "no model 'fish' here. There is: birds, graft." in graft("releases", "--model", "fish", cwd=tmp_path).stderr


@pytest.mark.parametrize("command", [[], ["rollback"], ["promote"], ["keep", "3"]])
def test_without_a_model_the_way_to_one_is_said(tmp_path, command):
    """And no workspace is made."""
    done = graft("releases", *command, cwd=tmp_path)
    assert done.returncode == 2
    assert "graft-out: no pushed model here. Train one with: ./graft run" in done.stderr
    assert names(tmp_path) == []


@pytest.mark.parametrize("command", [["rollback"], ["promote"], ["keep", "1"]])
def test_beside_a_run_nothing_is_changed(workspace, tmp_path, command):
    """It says who is at work, and what to do, at once; looking is fine."""
    before = names(workspace)
    with open_workspace(str(tmp_path / "graft-out")):
        done = graft("releases", *command, cwd=tmp_path)
        assert done.returncode == 1
        assert "another run is at work here (process" in done.stderr
        assert "Wait for it, or end it (Ctrl-C there;" in done.stderr
        assert graft("releases", cwd=tmp_path).returncode == 0
    assert names(workspace) == before


def test_broken_models_config_is_one_message(workspace, tmp_path):
    """No traceback, and nothing is changed."""
    (workspace.parent / "models.config").write_text("model_config_list {")
    before = names(workspace)
    for command in ([], ["rollback"], ["promote"], ["keep", "1"]):
        done = graft("releases", *command, cwd=tmp_path)
        assert done.returncode == 2
        assert "graft-out/serving/models.config: not a text ModelServerConfig" in done.stderr
        assert "Traceback" not in done.stderr
    assert names(workspace) == before


def test_release_commands_start_no_tensorflow(workspace, tmp_path):
    """A rollback is done in an instant."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pipeline.cli import cli\n"
        "for command in (['list', '--json'], ['list'], ['rollback'], ['promote'], ['keep', '2']):\n"
        "    cli.main(['releases', *command], standalone_mode=False)\n"
        "assert not {'tensorflow', 'tfx', 'apache_beam', 'keras'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=300)


@pytest.mark.parametrize("name", [str(OLDER), str(LIVE), f"withdrawn-{WITHDRAWN}"])
def test_damaged_record_is_named_with_the_reason(workspace, name):
    """The version may be the live one or any other."""
    SHAPES["counts is a number"](str(workspace / name / "assets.extra/graft.json"))
    console = Console(file=io.StringIO(), width=80)
    print_releases(str(workspace), console)
    assert (
        f"{workspace}/{name}/assets.extra/graft.json: not a record of Graft's: field counts: input should be "
        "an object, got 7. The version is served, and can be rolled back and promoted; no model is compared with it."
    ) in console.file.getvalue().splitlines()


def test_damaged_record_of_the_live_version_can_be_rolled_back_from(workspace, tmp_path):
    """There is a way back, and no traceback."""
    SHAPES["config is a list"](str(workspace / str(LIVE) / "assets.extra/graft.json"))
    done = graft("releases", "rollback", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Live:      {workspace.relative_to(tmp_path)}/{BEFORE}" in done.stdout


def test_damaged_record_is_a_problem_in_json(workspace):
    """For another program; null where there is none."""
    SHAPES["accuracy is a list"](str(workspace / str(LIVE) / "assets.extra/graft.json"))
    live, *others = json.loads(render_json(str(workspace)))["versions"]
    assert live["problem"] == "not a record of Graft's: field metrics.accuracy: input should be a valid number, got []"
    assert (live["accuracy"], live["run_id"], {version["problem"] for version in others}) == (None, None, {None})


def test_what_stands_in_a_record_is_printed_as_text(workspace):
    """Control characters and rich's markup, in a file that anybody may have written."""
    record = {"run_id": "\x1b[2J[red]x", "pushed_at": "\x1b]0;x"}
    (workspace / str(LIVE) / "assets.extra/graft.json").write_text(json.dumps(record))
    console = Console(file=io.StringIO(), width=200)
    print_releases(str(workspace), console)
    assert "\x1b" not in console.file.getvalue()
    assert r"\x1b[2J[red]x" in console.file.getvalue()


def test_serve_finds_an_example_beside_a_damaged_record(workspace):
    """It names none of the folder that the model was trained on."""
    SHAPES["config is a list"](str(workspace / str(LIVE) / "assets.extra/graft.json"))
    assert _find_image(str(workspace)) == PLACEHOLDER
    assert find_version(str(workspace)) == str(workspace / str(LIVE))
