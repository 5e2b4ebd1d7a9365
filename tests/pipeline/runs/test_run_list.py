"""`./graft runs` and `./graft report`: the runs of a workspace, and the page of one."""

import io
import json
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
import run_folders
from command_line import make_typist
from compared_runs import A, B, write_record, write_runs
from rich.cells import cell_len

from pipeline.cli import main
from pipeline.console.printing import make_console
from pipeline.report.outcome import find_outcome
from pipeline.report.sources import gather
from pipeline.runs.run_list import describe_outcome, list_runs, print_runs
from pipeline.workspace.manifest import FailedRun, RunManifest
from pipeline.workspace.workspace import Workspace, describe_last_run, open_workspace
from schema.errors import UsageError

ROOT = pathlib.Path(__file__).parents[3]
OLD = ROOT / "tests/fixtures/graft_0_2_0"
LATER = "20261126T101500-000Z-77e2"
EVIL = "zz \x1b[2J\u202e[red]"


@pytest.fixture
def workspace(tmp_path):
    return write_runs(tmp_path)


@pytest.fixture
def type_graft(workspace, monkeypatch, capsys):
    monkeypatch.chdir(workspace.root.parent)
    return make_typist(monkeypatch, capsys, main)


def write_text(workspace, width, terminal=True, limit=20):
    screen = io.StringIO()
    console = make_console(file=screen, width=width, force_terminal=terminal, color_system=None)
    print_runs(list_runs(workspace, limit), console)
    return screen.getvalue()


def test_runs_are_listed_newest_first_with_their_figures(type_graft):
    listed = json.loads(type_graft("runs", "--json").out)
    assert [run["run_id"] for run in listed["runs"]] == [B, A]
    newest = listed["runs"][0]
    assert newest["begun"] == "2026-11-25T10:15:00+00:00"
    assert (newest["outcome"], newest["accuracy"], newest["images"], newest["version"]) == ("pushed", 0.6, 10, 7)
    assert newest["accuracy_interval"][0] < 0.6 < newest["accuracy_interval"][1]
    assert listed["runs"][1]["state"] == "live"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_list_fits_into_a_terminal(workspace, width):
    text = write_text(workspace, width)
    assert all(cell_len(line) <= width for line in text.splitlines())
    assert "…" not in text
    for shown in (A, B, "0.600 (0.231 to 0.882)", "10", "12.5 s", "7", "6 live"):
        assert shown in text


def test_a_pipe_gets_a_row_for_each_run(workspace):
    lines = write_text(workspace, 80, terminal=False).splitlines()
    assert [line.split()[-1] for line in lines] == ["run", B, A]


def test_a_limit_says_how_many_are_older(workspace):
    text = write_text(workspace, 120, limit=1)
    assert B in text
    assert A not in text
    assert "1 older: --limit 2 lists them all." in text


@pytest.mark.parametrize("width", [60, 120])
def test_each_run_shows_the_state_of_its_version_now(workspace, type_graft, width):
    """B pushed version 7: removed, live, withdrawn; a promotion gives it another number."""
    as_told = {60: lambda state: f"{B}  pushed as 7 {state}", 120: lambda state: f"7 {state} "}[width]
    assert as_told("removed").strip() in write_text(workspace, width)
    write_record(workspace, 7, B)
    found = write_text(workspace, width)
    assert (as_told("live").strip() in found, "6 older" in found) == (True, True)
    type_graft("releases", "rollback")
    found = write_text(workspace, width)
    assert (as_told("withdrawn").strip() in found, "6 live" in found) == (True, True)
    type_graft("releases", "promote", "7")
    now = json.loads(type_graft("runs", "--json").out)["runs"][0]
    assert (now["version"], now["state"], now["version_now"] > 7) == (7, "live", True)
    assert as_told(f"live as {now['version_now']}").strip() in write_text(workspace, width)
    shutil.copytree(workspace.runs / B, workspace.runs / LATER)  # as a run that found that model live
    found = write_text(workspace, width)
    assert found.count(f"live as {now['version_now']}") == 2


def test_damaged_runs_are_named_and_the_others_are_listed(workspace):
    """A run that is half written, one with a damaged manifest, and one whose name commands a terminal."""
    (workspace.runs / "20261126T101500-000Z-half").mkdir()
    for name, content in (("20261127T101500-000Z-torn", "{"), (EVIL, '{"format": 99}')):
        (workspace.runs / name).mkdir()
        (workspace.runs / name / "manifest.json").write_text(content)
    found = {run.run_id: run for run in list_runs(workspace, 20).runs}
    assert [found[name].outcome for name in (EVIL, "20261127T101500-000Z-torn", "20261126T101500-000Z-half")] == [
        *["damaged"] * 2,
        "not ended",
    ]
    assert (
        found[EVIL].reason
        == "manifest.json: format 99; this Graft reads up to 1. A newer Graft wrote it: use that one."
    )
    for width in (60, 120):
        text = write_text(workspace, width)
        assert "\x1b" not in text
        assert "zz \\x1b[2J\\u202e[red]" in text
        assert A in text


def test_runs_of_0_2_0_are_listed(tmp_path):
    workspace = Workspace(tmp_path / "out")
    shutil.copytree(OLD / "runs", workspace.runs)
    assert [run.outcome for run in list_runs(workspace, 20).runs] == ["ended early", "not pushed", "pushed"]
    assert all(run.begun.startswith("2026-11-27T01:") for run in list_runs(workspace, 20).runs)


OUTCOMES = {
    "pushed": run_folders.write_trained,
    "canary": lambda *a: run_folders.write_trained(*a, canary=True),
    "live already": lambda *a: run_folders.write_trained(*a, pushed_now=False),
    "not pushed": lambda *a: run_folders.write_trained(
        *a, evaluation=run_folders.RESULT.evaluation.model_copy(update={"blessed": False})
    ),
    "ended early": run_folders.write_skipped,
    "failed": lambda *a: run_folders.write_failed(*a, "bad data"),
    "interrupted": lambda *a: run_folders.write_failed(
        *a,
        """RuntimeError("KeyboardInterrupt [while running 'Embed']")""",  # as Beam raises it
    ),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_the_outcome_is_that_of_the_page(tmp_path, outcome):
    workspace = run_folders.make_workspace(tmp_path)
    OUTCOMES[outcome](workspace, tmp_path / "data")
    manifest = RunManifest.read(str(workspace.runs / run_folders.RUN))
    assert describe_outcome(manifest) == outcome == find_outcome(gather(workspace, run_folders.RUN)).word.lower()


@pytest.mark.parametrize(
    ("failed", "reason", "told"),
    [
        ("KeyboardInterrupt()", "", "was interrupted."),
        ("""RuntimeError("KeyboardInterrupt [while running 'Embed']")""", "", "was interrupted."),
        ("OSError('the disk is full')", "the disk is full", "stopped: the disk is full"),
        ("OSError('')", "OSError('')", "stopped: OSError('')"),
        ("bad data\nmore of it", "bad data", "stopped: bad data"),
    ],
)
def test_the_reason_of_a_failure_is_for_a_person(tmp_path, failed, reason, told):
    """In the list, and where a command finds no pushed model; the error's name in Python is in the manifest."""
    workspace = run_folders.make_workspace(tmp_path)
    run_folders.write_failed(workspace, tmp_path / "data", failed)
    assert [run.reason for run in list_runs(workspace, 20).runs] == [reason]
    assert describe_last_run(str(workspace.root)) == f" The last run, {run_folders.RUN}, {told}"


@pytest.mark.parametrize("failed", [None, "KeyboardInterrupt()", "OSError('the disk is full')"])
@pytest.mark.parametrize("canary", [False, True])
def test_a_run_that_was_cut_off_after_its_push_has_pushed(workspace, type_graft, failed, canary):
    """The Pusher's record in the version says so; `runs`, the page and `compare` agree, with the accuracy."""
    manifest = RunManifest.read(str(workspace.runs / B))
    write_record(
        workspace,
        5 if canary else 7,
        B,
        canary=canary,
        metrics=manifest.evaluation.model_dump(mode="json"),
    )
    (workspace.runs / B / "manifest.json").unlink()
    if failed:
        start = {name: getattr(manifest, name) for name in ("run_id", "config", "resolved", "seconds")}
        FailedRun(**start, failed=failed).write(str(workspace.runs / B))
    outcome = "canary" if canary else "pushed"
    found = list_runs(workspace, 20).runs[0]
    assert (found.outcome, found.version, found.accuracy) == (outcome, 5 if canary else 7, 0.6)
    told = {None: "its process was killed after the push", "KeyboardInterrupt()": "interrupted after the push"}
    assert found.reason == told.get(failed, "stopped after the push: the disk is full")
    assert find_outcome(gather(workspace, B)).word.lower() == outcome
    compared = json.loads(type_graft("compare", A, B, "--json").out)["now"]
    assert (compared["outcome"], compared["version"], compared["accuracy"]) == (outcome, found.version, 0.6)


@pytest.fixture
def ended_early(tmp_path, monkeypatch, capsys):
    """The page of a run that ended early has no charts, which take time; types `report`."""
    workspace = run_folders.make_workspace(tmp_path)
    run_folders.write_skipped(workspace, tmp_path / "data")
    workspace.root.rename(tmp_path / "graft-out")
    monkeypatch.chdir(tmp_path)
    return make_typist(monkeypatch, capsys, main, "report")


def test_report_makes_a_missing_page_and_opens_it(ended_early, tmp_path, monkeypatch):
    """A page that is there stays."""
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda uri: bool(opened.append(uri)) or True)
    ended = ended_early("--open")
    page = tmp_path / "graft-out/runs" / run_folders.RUN / "report.html"
    assert (ended.code, ended.out, ended.err) == (0, f"{page.relative_to(tmp_path)}\n", "")
    assert opened == [page.as_uri()]
    assert "Nothing was trained: no new image." in page.read_text()
    page.write_text("kept")
    ended_early(run_folders.RUN)
    assert page.read_text() == "kept"


def test_report_says_the_path_where_no_browser_is(ended_early, monkeypatch):
    monkeypatch.setattr("webbrowser.open", lambda uri: False)
    ended = ended_early("--open")
    assert (ended.code, ended.err) == (0, "No browser is here. The page:\n")
    assert ended.out.endswith(f"{run_folders.RUN}/report.html\n")


@pytest.mark.parametrize(
    ("words", "expected"), [([], B), ([A], A), (["v6"], A), (["7"], B), ([f"graft-out/runs/{A}/"], A)]
)
def test_report_takes_the_newest_run_or_the_named_one(type_graft, workspace, words, expected):
    for run_id in (A, B):
        (workspace.runs / run_id / "report.html").touch()
    assert type_graft("report", *words).out == f"graft-out/runs/{expected}/report.html\n"


def test_a_run_that_is_not_there_is_refused_with_the_nearest(type_graft):
    ended = type_graft("report", A[:-1])
    assert ended.code == 2
    assert re.search(rf"no run '{A[:-1]}'\. The nearest: {A}", ended.err)


def test_a_workspace_without_runs_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no run here"):
        list_runs(Workspace(tmp_path), 20)


def test_the_commands_start_no_tensorflow(workspace):
    """Also with the page of a comparison."""
    (workspace.runs / B / "report.html").touch()
    commands = [["runs"], ["report"], ["compare", A, B, "--page", "page.html"]]
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from pipeline.cli import cli\n"
    code += "".join(f"cli.main({words!r}, standalone_mode=False)\n" for words in commands)
    code += "print('MODULES', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=workspace.root.parent, capture_output=True, text=True, timeout=300, check=True
    )
    modules = set(done.stdout.rsplit("MODULES", 1)[1].split())
    assert not modules & {"tensorflow", "keras", "tfx", "apache_beam"}


def test_a_run_at_work_is_running_and_has_no_page_yet(workspace, type_graft):
    """A page in the middle of a run would say that it stopped; behind a killed process nobody holds the lock."""
    name = "20261126T000000-000Z-aaaa"
    (workspace.runs / name).mkdir()
    with open_workspace(str(workspace.root)):
        assert list_runs(workspace, 1).runs[0].outcome == "running"
        asked = type_graft("report")
    assert (asked.code, f"{name}: this run is still going on" in asked.err) == (2, True)
    assert list_runs(workspace, 1).runs[0].outcome == "not ended"
    assert type_graft("report").code == 0
