"""`./graft kubeflow schedule` and its companions, against the stub of the API: one schedule of a name."""

import copy
import datetime
import json

import pytest
import yaml
from kubeflow_commands import DATA, make_graft, only, write_spec

from kubeflow import runs
from kubeflow.cron import parse_cron
from schema.errors import UsageError

NIGHTLY = "0 0 3 * * *"


@pytest.fixture
def graft(tmp_path, monkeypatch, capsys):
    return make_graft(tmp_path, monkeypatch, capsys)


@pytest.fixture
def schedule(graft, stub):
    """Types `schedule` for the stub, with a cron expression."""
    return lambda cron=NIGHTLY, *options: graft("schedule", "--host", stub.host, DATA, "--cron", cron, *options)


def start_run(stub, recurring_run, state):
    """Adds a run that the schedule has started."""
    from kfp_server_api import V2beta1Run

    stub.runs["a-run"] = V2beta1Run(
        run_id="a-run",
        experiment_id=recurring_run.experiment_id,
        recurring_run_id=recurring_run.recurring_run_id,
        display_name="a run",
        created_at=datetime.datetime.now(datetime.timezone.utc),
        state=state,
    )


def test_a_schedule_is_made(schedule, stub):
    typed = schedule(NIGHTLY, "--window-days", 30)
    assert (typed.code, typed.err) == (0, "")
    made, version = only(stub.recurring_runs), only(stub.versions)
    assert made.trigger.cron_schedule.cron == NIGHTLY
    assert (made.status, made.no_catchup, made.max_concurrency) == ("ENABLED", True, "1")
    assert made.runtime_config.parameters == {
        "data": "s3://bucket/photos",
        "window_end": "[[ScheduledTime.2006-01-02]]",
        "window_days": 30,
    }
    assert made.pipeline_version_reference.pipeline_version_id == version.pipeline_version_id
    assert typed.out.splitlines() == [
        f"Version:  graft {version.display_name}, uploaded",
        f"Schedule: graft ({made.recurring_run_id}), created",
    ]


def test_without_a_window_the_defaults_of_the_spec_hold(schedule, stub):
    schedule()
    assert "window_days" not in only(stub.recurring_runs).runtime_config.parameters


def test_a_date_that_was_given_is_kept(schedule, stub):
    schedule(NIGHTLY, "--window-end", "2026-11-23")
    assert only(stub.recurring_runs).runtime_config.parameters["window_end"] == "2026-11-23"


def test_a_spec_without_the_window_is_not_given_one(schedule, stub, tmp_path):
    write_spec(tmp_path / "graft.yaml", window_end=None)
    assert schedule().code == 0
    assert "window_end" not in only(stub.recurring_runs).runtime_config.parameters


def test_the_same_again_changes_nothing(schedule, stub):
    schedule(NIGHTLY, "--window-days", 30)
    before = len(stub.changes)
    typed = schedule("0  0 3 * * *", "--window-days", 30)
    assert "unchanged" in typed.out
    assert len(stub.changes) == before
    assert len(stub.recurring_runs) == 1


@pytest.mark.parametrize(
    ("cron", "options"),
    [
        ("0 30 4 * * *", []),
        (NIGHTLY, ["--window-days", 7]),
        (NIGHTLY, ["--pipeline-root", "s3://bucket/other"]),
    ],
)
def test_another_time_or_parameter_replaces_it(schedule, stub, cron, options):
    schedule()
    old = only(stub.recurring_runs)
    typed = schedule(cron, *options)
    new = only(stub.recurring_runs)
    assert "updated" in typed.out
    assert new.recurring_run_id != old.recurring_run_id
    assert new.trigger.cron_schedule.cron == cron
    assert new.status == "ENABLED"


def test_another_spec_replaces_it(schedule, stub, tmp_path):
    schedule()
    write_spec(tmp_path / "graft.yaml", seed={"parameterType": "NUMBER_INTEGER", "defaultValue": 1.0})
    assert "updated" in schedule().out
    newest = list(stub.versions)[-1]
    assert only(stub.recurring_runs).pipeline_version_reference.pipeline_version_id == newest


def test_the_old_one_goes_only_when_the_new_one_is_there(schedule, stub):
    """Between the two requests both schedules exist, and at no moment none."""
    schedule()
    old = only(stub.recurring_runs)
    schedule("0 30 4 * * *")
    lines = [request.line for request in stub.changes if "recurringruns" in request.line]
    assert lines[-2:] == [
        "POST /apis/v2beta1/recurringruns",
        f"DELETE /apis/v2beta1/recurringruns/{old.recurring_run_id}",
    ]


def test_a_new_one_that_is_refused_leaves_the_old_one(schedule, stub):
    schedule()
    stub.fail("POST .*/recurringruns", 500, "the database is gone")
    typed = schedule("0 30 4 * * *")
    assert typed.code == 1
    assert "the database is gone" in typed.err
    assert only(stub.recurring_runs).trigger.cron_schedule.cron == NIGHTLY
    assert only(stub.recurring_runs).status == "ENABLED"


def test_what_an_update_left_behind_is_put_right_by_the_same_command(schedule, stub):
    schedule()
    stub.fail("DELETE .*", 500, "the database is gone")
    failed = schedule("0 30 4 * * *")
    assert failed.code == 1
    assert "an older schedule of this name may, too. Give the same command again." in failed.err
    assert len(stub.recurring_runs) == 2
    typed = schedule("0 30 4 * * *")
    assert (typed.code, "unchanged" in typed.out) == (0, True)
    assert only(stub.recurring_runs).trigger.cron_schedule.cron == "0 30 4 * * *"


def test_of_two_one_of_which_is_enabled_the_right_one_is_in_the_end(graft, schedule, stub):
    schedule()
    stub.fail("DELETE .*", 500)
    schedule("0 30 4 * * *")
    _, new = stub.recurring_runs.values()
    graft("pause", new.recurring_run_id, "--host", stub.host)
    schedule("0 30 4 * * *")
    assert only(stub.recurring_runs) is new
    assert new.status == "ENABLED"


def test_a_creation_whose_answer_was_lost_is_not_made_twice(schedule, stub):
    stub.fail("POST .*/recurringruns", 503, after=True)
    assert schedule().code == 1
    assert "unchanged" in schedule().out
    assert len(stub.recurring_runs) == 1


def test_a_paused_schedule_stays_paused_when_it_is_changed(schedule, graft, stub):
    schedule()
    graft("pause", "graft", "--host", stub.host)
    typed = schedule("0 30 4 * * *")
    assert only(stub.recurring_runs).status == "DISABLED"
    assert "it is paused, ./graft kubeflow resume graft" in typed.out


def test_a_run_that_is_going_on_is_not_ended_by_a_change(schedule, stub):
    """Kubernetes ends the runs of a deleted recurring run: so it is paused, and deleted the next time."""
    schedule()
    old = only(stub.recurring_runs)
    start_run(stub, old, "RUNNING")
    typed = schedule("0 30 4 * * *", "--beside")
    assert f"Left:     graft ({old.recurring_run_id[:8]}), paused" in typed.out
    assert [r.status for r in stub.recurring_runs.values()] == ["DISABLED", "ENABLED"]
    stub.runs["a-run"].state = "SUCCEEDED"
    schedule("0 30 4 * * *")
    assert only(stub.recurring_runs).status == "ENABLED"


@pytest.mark.parametrize("options", [["0 30 4 * * *"], [NIGHTLY, "--window-days", 7]])
def test_nothing_is_changed_while_a_run_of_the_pipeline_is_going_on(schedule, stub, options):
    """The new schedule would fire beside it: two trainings of the same images."""
    schedule()
    start_run(stub, only(stub.recurring_runs), "RUNNING")
    before = len(stub.changes)
    typed = schedule(*options)
    assert typed.code == 1
    assert "a run (a-run): this run of the pipeline graft is going on" in typed.err
    assert len(stub.changes) == before
    assert only(stub.recurring_runs).trigger.cron_schedule.cron == NIGHTLY


def test_a_schedule_that_stays_as_it_is_looks_for_no_run(schedule, stub):
    """The same command each day is no reason to end with an error."""
    schedule()
    start_run(stub, only(stub.recurring_runs), "RUNNING")
    typed = schedule()
    assert (typed.code, "unchanged" in typed.out) == (0, True)


def test_with_wait_a_change_waits_for_the_run(schedule, stub, monkeypatch):
    monkeypatch.setattr(runs, "PAUSE", 0.0)
    schedule()
    start_run(stub, only(stub.recurring_runs), "PENDING")
    typed = schedule("0 30 4 * * *", "--wait")
    assert (typed.code, stub.runs["a-run"].state) == (0, "SUCCEEDED")
    assert "Before:   a run (a-run) is going on" in typed.out
    assert only(stub.recurring_runs).trigger.cron_schedule.cron == "0 30 4 * * *"


def test_only_those_of_the_name_in_the_experiment_are_touched(schedule, stub):
    schedule(NIGHTLY, "--name", "other")
    schedule(NIGHTLY, "--experiment", "trials")
    schedule()
    schedule("0 30 4 * * *")
    kept = [(r.display_name, r.trigger.cron_schedule.cron) for r in stub.recurring_runs.values()]
    assert sorted(kept) == [("graft", "0 0 3 * * *"), ("graft", "0 30 4 * * *"), ("other", "0 0 3 * * *")]


@pytest.mark.parametrize("state", ["RUNNING", "SUCCEEDED"])
def test_a_run_older_than_many_others_is_seen(graft, schedule, stub, state):
    """The run is the first of 250 of the experiment; while it is active, its schedule stays."""
    schedule()
    made = only(stub.recurring_runs)
    start_run(stub, made, state)
    for number in range(250):
        newer = copy.copy(stub.runs["a-run"])
        newer.run_id, newer.recurring_run_id, newer.state = f"id-{number}", None, "SUCCEEDED"
        newer.created_at += datetime.timedelta(seconds=number + 1)
        stub.runs[newer.run_id] = newer
    typed = graft("delete", "graft", "--host", stub.host)
    assert ("its run a-run is active" in typed.err) == (state == "RUNNING")
    assert bool(stub.recurring_runs) == (state == "RUNNING")


def test_more_schedules_than_a_page_holds_are_all_seen(graft, schedule, stub):
    schedule()
    made = only(stub.recurring_runs)
    for number in range(100):
        newer = copy.copy(made)
        newer.recurring_run_id, newer.display_name = f"id-{number}", f"s{number}"
        newer.created_at += datetime.timedelta(seconds=number + 1)
        stub.recurring_runs[newer.recurring_run_id] = newer
    for name in ("graft", "s99"):
        assert "unchanged" in schedule(NIGHTLY, "--name", name).out
    listed = json.loads(graft("schedules", "--json", "--host", stub.host).out)
    assert len(listed["schedules"]) == 101


def test_a_dry_run_prints_what_is_sent_then(graft, schedule, stub):
    printed = graft("schedule", DATA, "--cron", NIGHTLY, "--window-days", 30, "--dry-run")
    assert (printed.code, printed.err) == (0, "")
    schedule(NIGHTLY, "--window-days", 30)
    text = printed.out.replace("PIPELINE_VERSION_ID", only(stub.versions).pipeline_version_id)
    text = text.replace("PIPELINE_ID", only(stub.pipelines).pipeline_id)
    text = text.replace("EXPERIMENT_ID", only(stub.experiments).experiment_id)
    requests = yaml.safe_load(text)
    assert [r["request"] for r in requests] == [request.line for request in stub.changes]
    assert [r.get("body") for r in requests] == [request.body for request in stub.changes]
    assert [r.get("query", {}) for r in requests] == [request.query for request in stub.changes]


# Listing, pausing, resuming, deleting.


def test_schedules_are_listed(graft, schedule, stub):
    schedule(NIGHTLY, "--window-days", 30)
    schedule("0 30 4 * * mon", "--name", "weekly")
    graft("pause", "weekly", "--host", stub.host)
    nightly, weekly = json.loads(graft("schedules", "--json", "--host", stub.host).out)["schedules"]
    assert (nightly["name"], nightly["status"], nightly["cron"]) == ("graft", "enabled", NIGHTLY)
    assert nightly["next_run"].endswith("T03:00:00+00:00")
    assert nightly["version"] == only(stub.versions).display_name
    assert nightly["parameters"]["window_end"] == "[[ScheduledTime.2006-01-02]]"
    assert (weekly["name"], weekly["status"], weekly["next_run"]) == ("weekly", "paused", None)


def test_the_table_shows_what_an_expression_in_brackets_is(graft, schedule, stub, monkeypatch):
    """Rich would read brackets as markup."""
    monkeypatch.setenv("COLUMNS", "250")
    schedule(NIGHTLY, "--window-days", "30")
    typed = graft("schedules", "--host", stub.host)
    assert 'window_end="[[ScheduledTime.2006-01-02]]"' in typed.out
    assert only(stub.recurring_runs).recurring_run_id[:8] in typed.out


def test_a_schedule_of_another_is_listed_too(graft, schedule, stub):
    """A schedule of the UI is periodic, and may run a deleted version."""
    schedule()
    other = only(stub.recurring_runs)
    other.trigger.cron_schedule = None
    stub.versions.clear()
    (row,) = json.loads(graft("schedules", "--json", "--host", stub.host).out)["schedules"]
    assert (row["cron"], row["next_run"]) == (None, None)
    assert "deleted" in row["version"]


def test_without_schedules_the_list_says_so(graft, stub):
    assert "No schedule in the experiment graft" in graft("schedules", "--host", stub.host).out
    assert not stub.changes


@pytest.mark.parametrize("name_it", [lambda r: "graft", lambda r: r.recurring_run_id, lambda r: r.recurring_run_id[:8]])
def test_a_schedule_is_paused_resumed_and_deleted_by_name_or_id(graft, schedule, stub, name_it):
    schedule()
    made = only(stub.recurring_runs)
    which = name_it(made)
    typed = graft("pause", which, "--host", stub.host)
    assert (typed.code, made.status) == (0, "DISABLED")
    assert f"Paused:   graft ({made.recurring_run_id[:8]})" in typed.out
    graft("resume", which, "--host", stub.host)
    assert made.status == "ENABLED"
    graft("delete", which, "--host", stub.host)
    assert not stub.recurring_runs


def test_a_schedule_that_is_not_there_names_those_that_are(graft, schedule, stub):
    schedule()
    for command in ("pause", "resume", "delete"):
        typed = graft(command, "nightly", "--host", stub.host)
        assert typed.code == 2
        assert "nightly: no schedule of this name or id in the experiment graft. There is: graft (" in typed.err
    assert graft("delete", "", "--host", stub.host).code == 2
    assert len(stub.recurring_runs) == 1


def test_a_schedule_is_not_deleted_while_a_run_of_it_is_going_on(graft, schedule, stub):
    schedule()
    start_run(stub, only(stub.recurring_runs), "RUNNING")
    typed = graft("delete", "graft", "--host", stub.host)
    assert typed.code == 1
    assert "its run a-run is active" in typed.err
    assert len(stub.recurring_runs) == 1


def test_of_one_name_all_are_paused_and_the_newest_is_resumed(graft, schedule, stub):
    schedule()
    stub.fail("DELETE .*", 500)
    schedule("0 30 4 * * *")
    old, new = stub.recurring_runs.values()
    graft("pause", "graft", "--host", stub.host)
    assert (old.status, new.status) == ("DISABLED", "DISABLED")
    graft("resume", "graft", "--host", stub.host)
    assert (old.status, new.status) == ("DISABLED", "ENABLED")


# Cron expressions.


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("0 3 * * *", 'With the seconds first: --cron "0 0 3 * * *"'),
        ("0 3 * *", "expected six fields (second minute hour day month weekday"),
        ("", "got 0"),
        ("0 0 3 * * * 2026", "got 7"),
        ("@daily", "got 1"),
        ("60 0 3 * * *", "second: got 60; expected"),
        ("0 0 24 * * *", "hour: got 24; expected"),
        ("0 0 3 0 * *", "day: got 0; expected"),
        ("0 0 3 * 13 *", "month: got 13; expected"),
        ("0 0 3 * * 7", "weekday: got 7; expected"),
        ("0 0 3 * * fri-mon", "weekday: got fri-mon; expected"),
        ("0 0 3 * * 0-7", "weekday: got 0-7; expected"),
        ("0 0 3 * * L", "weekday: got L; expected *, a number (or a name"),
        ("0 0 3 L * *", "day: got L; expected"),
        ("0 0 3 15W * *", "day: got 15W; expected"),
        ("0 0 3 * * 5#2", "weekday: got 5#2; expected"),
        ("R R 3 * * *", "second: got R; expected"),
        ("0 0 3 * * sunday", "weekday: got sunday; expected"),
        ("0 0 3 jan * *", "day: got jan; expected"),
        ("0 0 3-1 * * *", "hour: got 3-1; expected"),
        ("0 0 3-3 * * *", "hour: got 3-3; expected"),  # robfig/cron takes it for 3, croniter for *
        ("0 */0 3 * * *", "minute: got */0; expected"),
        ("0 1,,2 3 * * *", "minute: got nothing; expected *, a number"),
        ("0 0 3 30 2 *", "no year has such a day"),
    ],
)
def test_a_malformed_cron_says_the_format_and_sends_nothing(schedule, stub, cron, said):
    typed = schedule(cron)
    assert typed.code == 2
    assert said in typed.err
    assert typed.err.count("\n") == 1
    assert not stub.requests


@pytest.mark.parametrize(
    ("cron", "following"),
    [
        ("0 0 3 * * *", ["11-26 03:00:00", "11-27 03:00:00"]),
        ("0 0 3 ? * ?", ["11-26 03:00:00", "11-27 03:00:00"]),
        ("30 5/20 10 * * *", ["11-25 10:05:30", "11-25 10:25:30", "11-25 10:45:30", "11-26 10:05:30"]),
        ("0 0 9-17/4 * * MON-FRI", ["11-25 13:00:00", "11-25 17:00:00", "11-26 09:00:00"]),
        ("0 0 0 1 jan,Jul *", ["01-01 00:00:00", "07-01 00:00:00"]),
        ("0 0 3 1 * mon", ["11-30 03:00:00", "12-01 03:00:00", "12-07 03:00:00"]),  # either fits
        ("0 0 3 */2 * mon", ["12-07 03:00:00", "12-21 03:00:00"]),  # both have to, for there is a star
        ("0 ?/20 10 * * *", ["11-25 10:20:00", "11-25 10:40:00", "11-26 10:00:00"]),
        ("0 */90 10 * * *", ["11-26 10:00:00", "11-27 10:00:00"]),
        ("0 0 3 * * 1/2", ["11-27 03:00:00", "11-30 03:00:00", "12-02 03:00:00"]),  # 1, 3 and 5
    ],
)
def test_the_next_times_are_those_of_robfig_cron(cron, following):
    time = datetime.datetime(2026, 11, 25, 10, 0, 0, tzinfo=datetime.timezone.utc)  # a Wednesday
    times = []
    for _ in following:
        time = parse_cron(cron).find_next(time)
        times.append(f"{time:%m-%d %H:%M:%S}")
    assert times == following


def test_a_day_that_never_comes_is_refused():
    with pytest.raises(UsageError, match="no year has such a day"):
        parse_cron("0 0 0 31 4,6 *")


def test_without_a_window_no_day_is_asked_for(schedule, stub):
    """There may be no date folders, and ExampleGen would refuse to look for one."""
    schedule()
    assert "window_end" not in only(stub.recurring_runs).runtime_config.parameters
