"""`./graft kubeflow submit` against the stub of the API: requests, output and exit code."""

import pathlib
import re
import socket
import subprocess
import sys
import threading
import types

import pytest
import yaml
from kfp_api_stub import KfpApiStub
from kfp_server_api import models
from kubeflow_commands import DATA, SPEC, make_graft, only, write_spec
from ports import pick_port

from kubeflow import client, failures, runs

ROOT = pathlib.Path(__file__).parents[2]
API = "the Kubeflow Pipelines API at "
# What follows Graft's line in the log of a task: the launcher's lines and those of Argo's executor.
LAUNCHER = """\
I1126 03:04:05.123456      17 launcher_v2.go:193] publish success.
F1126 03:04:05.123457      17 main.go:57] failed to execute component: exit status {code}
goroutine 1 [running]:
main.main()
\t/go/src/github.com/kubeflow/pipelines/backend/src/v2/cmd/launcher-v2/main.go:57 +0x1b
time="2026-11-26T03:04:05.200Z" level=info msg="sub-process exited" argo=true error="<nil>"
time="2026-11-26T03:04:05.201Z" level=info msg="not saving outputs - not main container" argo=true
time="2026-11-26T03:04:05.202Z" level=info msg="/tmp/outputs -> /var/run/argo/outputs" argo=true
Error: exit status 1
"""
NO_CATS = "gs://b/photos: the class cats has vanished."


@pytest.fixture
def graft(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runs, "PAUSE", 0.0)
    return make_graft(tmp_path, monkeypatch, capsys)


def substitute(text, stub):
    """Returns the output of a dry run, with the ids of the stub."""
    pipeline, version, experiment = only(stub.pipelines), only(stub.versions), only(stub.experiments)
    text = text.replace("PIPELINE_VERSION_ID", version.pipeline_version_id)
    return text.replace("PIPELINE_ID", pipeline.pipeline_id).replace("EXPERIMENT_ID", experiment.experiment_id)


def describe(request):
    """Describes a received request as a dry run does."""
    described = {"request": request.line}
    if request.query:
        described["query"] = request.query
    if request.file:
        described["file"] = {"field": "uploadfile", "name": request.file[0], "bytes": len(request.file[1])}
    return described | ({"body": request.body} if request.body else {})


def end_runs(stub):
    """Lets all runs end."""
    for run in stub.runs.values():
        run.state = "SUCCEEDED"


def make_log(*lines, code=3):
    """Returns the log of a task that ended with a code, as the server hands it out."""
    return "\n".join(["I1126 03:01:00 Reading the images.", *lines, LAUNCHER.format(code=code)])


def assert_one_line(typed, code, *said):
    assert typed.code == code
    assert typed.err.count("\n") == 1, typed.err
    assert typed.err.startswith("graft: ")
    for text in said:
        assert text in typed.err
    assert "Traceback" not in typed.err + typed.out


def test_a_spec_is_uploaded_and_run(graft, stub):
    typed = graft("submit", "--host", stub.host, DATA, "--window-end", "2026-11-23", "--window-days", 30)
    assert (typed.code, typed.err) == (0, "")
    run, version = only(stub.runs), only(stub.versions)
    assert run.runtime_config.parameters == {
        "data": "s3://bucket/photos",
        "window_end": "2026-11-23",
        "window_days": 30,
    }
    assert run.pipeline_version_reference.pipeline_version_id == version.pipeline_version_id
    assert only(stub.experiments).display_name == "graft"
    assert only(stub.pipelines).display_name == "graft"
    assert typed.out.splitlines() == [
        f"Version:  graft {version.display_name}, uploaded",
        f"Run:      {run.display_name} ({run.run_id})",
        f"Link:     {stub.host}/#/runs/details/{run.run_id}",
    ]


def test_a_version_is_named_by_its_content(graft, stub):
    graft("submit", "--host", stub.host, DATA)
    version = only(stub.versions)
    digest = version.description.removeprefix("sha256:")
    assert re.fullmatch("[0-9a-f]{64}", digest)
    assert version.display_name.endswith(f"-{digest[:12]}")
    assert version.pipeline_spec == SPEC


def test_the_same_content_is_not_uploaded_again(graft, stub, tmp_path):
    """Another layout of the YAML is the same content."""
    graft("submit", "--host", stub.host, DATA)
    turned = dict(reversed(SPEC.items()))
    (tmp_path / "graft.yaml").write_text(
        "# the same\n" + yaml.safe_dump(turned, default_flow_style=True, sort_keys=False)
    )
    end_runs(stub)
    typed = graft("submit", "--host", stub.host, DATA)
    assert len(stub.versions) == 1
    assert len(stub.runs) == 2
    assert "already there" in typed.out


def test_another_content_is_another_version_of_the_same_pipeline(graft, stub, tmp_path):
    graft("submit", "--host", stub.host, DATA)
    write_spec(tmp_path / "graft.yaml", seed={"parameterType": "NUMBER_INTEGER", "defaultValue": 1.0})
    graft("submit", "--host", stub.host, DATA, "--beside")
    assert len(stub.pipelines) == 1
    assert len(stub.versions) == 2
    newest = list(stub.runs.values())[-1].pipeline_version_reference.pipeline_version_id
    assert newest == list(stub.versions)[-1]


def test_names_and_the_pipeline_root_are_what_was_asked_for(graft, stub):
    options = ["--name", "monday", "--experiment", "trials", "--pipeline-root", "s3://other/root"]
    graft("submit", "--host", stub.host, DATA, *options)
    run = only(stub.runs)
    assert (run.display_name, run.runtime_config.pipeline_root) == ("monday", "s3://other/root")
    assert only(stub.experiments).display_name == "trials"


def test_parameters_get_the_types_of_the_spec(graft, stub):
    typed_by_hand = ["--param=min_accuracy=0.5", "--param=warm_start=true", "--param=window_days=7", "--force"]
    graft("submit", "--host", stub.host, DATA, *typed_by_hand)
    sent = only(stub.runs).runtime_config.parameters
    assert sent == {
        "data": "s3://bucket/photos",
        "min_accuracy": 0.5,
        "warm_start": True,
        "window_days": 7,
        "force": 1,
    }
    assert [type(sent[name]) for name in ("min_accuracy", "warm_start", "window_days")] == [float, bool, int]


def test_a_value_may_hold_an_equals_sign(graft, stub):
    graft("submit", "--host", stub.host, "--param", "data=s3://bucket/a=b")
    assert only(stub.runs).runtime_config.parameters["data"] == "s3://bucket/a=b"


def test_a_dry_run_prints_what_is_sent_then(graft, stub):
    command = ["submit", DATA, "--window-end", "2026-11-23", "--name", "monday", "--pipeline-root", "gs://b/root"]
    printed = graft(*command, "--dry-run")
    assert (printed.code, printed.err) == (0, "")
    graft(*command, "--host", stub.host)
    assert yaml.safe_load(substitute(printed.out, stub)) == [describe(request) for request in stub.changes]


def test_a_dry_run_asks_nobody_and_prints_no_token(graft, tmp_path, monkeypatch):
    (tmp_path / "token").write_text("hush")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "context.json").write_text(
        '{"namespace": "team-a", "client_authentication_cookie": "hush=1",'
        ' "client_authentication_header_name": "x-who", "client_authentication_header_value": "hush"}'
    )
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("KF_PIPELINES_IAP_OAUTH2_CLIENT_ID", "hush.apps.googleusercontent.com")
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a dry run has no network"))
    typed = graft("submit", "--host", "http://user:hush@localhost:1", DATA, "--dry-run")
    assert typed.code == 0
    assert "hush" not in typed.out + typed.err
    assert "namespace: team-a" in typed.out


def test_a_token_in_a_file_is_sent_and_not_printed(graft, tmp_path, monkeypatch):
    (tmp_path / "token").write_text("hush\n")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    with KfpApiStub(token="hush") as stub:
        typed = graft("submit", "--host", stub.host, DATA)
        assert typed.code == 0
        end_runs(stub)
        (tmp_path / "token").write_text("hush-old")
        refused = graft("submit", "--host", stub.host, DATA)
    assert_one_line(refused, 1, "401", "KF_PIPELINES_SA_TOKEN_PATH", "context.json")
    assert "hush" not in typed.out + refused.err


def test_the_address_is_taken_from_the_environment(graft, stub, monkeypatch):
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", stub.host)
    monkeypatch.setenv("KF_PIPELINES_UI_ENDPOINT", "https://kubeflow.example/pipeline/")
    typed = graft("submit", DATA)
    assert f"https://kubeflow.example/pipeline/#/runs/details/{only(stub.runs).run_id}" in typed.out


def test_for_many_users_everything_is_in_their_namespace(graft):
    with KfpApiStub(multi_user=True) as stub:
        assert_one_line(graft("submit", "--host", stub.host, DATA), 2, "--namespace")
        for _ in range(2):
            assert graft("submit", "--host", stub.host, "--namespace", "team-a", DATA).code == 0
            end_runs(stub)
        assert only(stub.pipelines).namespace == "team-a"
        assert only(stub.experiments).namespace == "team-a"


def test_the_namespace_is_taken_from_kfps_configuration(graft, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "context.json").write_text('{"namespace": "team-a"}')
    with KfpApiStub(multi_user=True) as stub:
        assert graft("submit", "--host", stub.host, DATA).code == 0
        assert (only(stub.pipelines).namespace, only(stub.experiments).namespace) == ("team-a", "team-a")


@pytest.mark.parametrize(
    ("states", "code"),
    [
        (["PENDING", "RUNNING", "SUCCEEDED"], 0),
        (["PENDING", "SKIPPED"], 0),
        (["PENDING", "RUNNING", "FAILED"], 1),
        (["PENDING", "CANCELING", "CANCELED"], 1),
        (["PENDING", "CANCELING", "FAILED"], 1),
    ],
)
def test_waiting_ends_with_the_run(graft, stub, states, code):
    stub.states = states
    typed = graft("submit", "--host", stub.host, DATA, "--wait")
    assert typed.code == code
    shown = re.findall("State: +(.*)", typed.out)
    assert shown == [state.lower() for state in states[1:]]
    assert ("terminated" in typed.err) == ("CANCELING" in states)


def submit_failed(graft, stub, **logs):
    """Submits a run whose tasks fail with these logs, and waits for its end."""
    stub.states, stub.failed = ["PENDING", "RUNNING", "FAILED"], logs
    return graft("submit", "--host", stub.host, DATA, "--pipeline-root", "s3://b/runs", "--wait")


@pytest.mark.parametrize(
    ("attempts", "pod_names"),
    [(True, False), (False, False), (True, True)],
    ids=["2.17, each node repeated", "older", "pods named"],
)
@pytest.mark.parametrize("code", [1, 2, 3])
def test_a_failed_run_ends_with_the_code_and_the_reason_of_its_task(graft, stub, code, attempts, pod_names):
    """Both are in the log of the task alone; Argo's own line says 1 for every code."""
    stub.attempts, stub.pod_names = attempts, pod_names
    typed = submit_failed(graft, stub, DataGate=make_log(f"graft: {NO_CATS}", code=code))
    assert typed.code == code
    first, last = typed.err.splitlines()
    run_id = only(stub.runs).run_id
    assert first == f"graft: DataGate: {NO_CATS}"
    assert f"executor-logs below s3://b/runs/graft/{run_id}/DataGate/; the run: {stub.host}/#/runs" in last


def test_without_its_log_a_failed_task_is_named_and_the_code_is_not_guessed(graft, stub):
    """Logs that are not archived: 400, Failed to read logs from archive."""
    typed = submit_failed(graft, stub, DataGate=None)
    assert typed.code == 1
    assert "graft: DataGate: failed, and the server does not hand out its log" in typed.err
    assert "executor-logs" in typed.err
    assert [r.line for r in stub.requests if r.line.endswith("/log")]


def test_a_server_without_the_api_of_logs_is_as_one_without_the_log(graft, stub):
    stub.fail(".*/log", 404, "Not Found", times=100)
    typed = submit_failed(graft, stub, ExampleGen=make_log("graft: no such folder"))
    assert (typed.code, "ExampleGen: failed, and the server" in typed.err) == (1, True)


@pytest.mark.parametrize(
    ("logs", "code"),
    [
        ({"ExampleGen": make_log("graft: a"), "DataGate": make_log("graft: b")}, 3),
        ({"ExampleGen": make_log("graft: a"), "DataGate": None}, 1),
        ({"ExampleGen": make_log("graft: a"), "DataGate": make_log("graft: b", code=2)}, 1),
    ],
    ids=["alike", "one unknown", "different"],
)
def test_of_several_failed_tasks_the_codes_have_to_agree(graft, stub, logs, code):
    typed = submit_failed(graft, stub, **logs)
    assert typed.code == code
    assert all(
        f"DataGate, ExampleGen: {name}" in typed.err for name, log in zip("ab", logs.values(), strict=True) if log
    )


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (
            make_log("graft: a: one problem", "graft: b: another", "  and more of it"),
            (3, ["a: one problem", "b: another"]),
        ),
        (make_log("graft: an older message", "Going on.", "graft: the last"), (3, ["the last"])),
        (make_log("Traceback:", "ValueError: exit code 3", code=1), (1, [])),
        (make_log("graft: in need of memory").replace("exit status 3", "signal: killed"), (1, ["in need of memory"])),
        ("evicted before it said a word", None),
        ("exit status 3\n" * 20 + "more\n" * 20, None),
        ("", None),
    ],
    ids=["two lines", "the last of several", "traceback", "killed", "cut off", "a text in the middle", "empty"],
)
def test_the_end_of_a_task_is_read_from_its_log(log, expected):
    end = failures.find_end(log)
    assert (end and (end.exit_code, end.reason)) == expected


def test_a_log_of_any_length_and_bytes_is_read_from_its_end(graft, stub, monkeypatch):
    monkeypatch.setattr(client, "_LOG_BYTES", 2000)
    typed = submit_failed(graft, stub, Trainer="\ufffd\x1b[2J" * 200_000 + make_log("graft: too little memory", code=1))
    assert "graft: Trainer: too little memory" in typed.err


# Two at once.


def test_beside_a_run_of_the_pipeline_none_is_started(graft, stub):
    """Of whatever experiment; nothing is uploaded either."""
    graft("submit", "--host", stub.host, DATA, "--name", "first")
    before = len(stub.changes)
    typed = graft("submit", "--host", stub.host, DATA, "--experiment", "trials")
    assert_one_line(typed, 1, "first", only(stub.runs).run_id, "is going on", "--wait", "--beside")
    assert len(stub.changes) == before


def test_beside_the_run_of_a_schedule_none_is_started(graft, stub):
    """2.17 names no pipeline for such a run."""
    graft("schedule", "--host", stub.host, DATA, "--cron", "0 0 3 * * *")
    start_scheduled_run(stub)
    typed = graft("submit", "--host", stub.host, DATA)
    assert_one_line(typed, 1, "nightly (a-run)", "is going on")


def start_scheduled_run(stub, state="RUNNING"):
    owner = only(stub.recurring_runs)
    run = models.V2beta1Run(
        run_id="a-run", display_name="nightly", experiment_id=owner.experiment_id, state=state,
        recurring_run_id=owner.recurring_run_id, created_at=owner.created_at,
    )  # fmt: skip
    stub.runs["a-run"] = run


def test_a_run_of_another_pipeline_is_nobodys_business(graft, stub, tmp_path):
    write_spec(tmp_path / "graft.yaml")
    graft("submit", "--host", stub.host, DATA)
    other = yaml.safe_load((tmp_path / "graft.yaml").read_text()) | {"pipelineInfo": {"name": "other"}}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(other))
    assert graft("submit", "other.yaml", "--host", stub.host, DATA).code == 0


def test_with_wait_the_run_before_ends_first(graft, stub):
    graft("submit", "--host", stub.host, DATA, "--name", "first")
    typed = graft("submit", "--host", stub.host, DATA, "--name", "second", "--wait")
    assert typed.code == 0
    first, second = stub.runs.values()
    assert first.state == second.state == "SUCCEEDED"
    assert f"Before:   first ({first.run_id}) is going on" in typed.out
    lines = [request.line for request in stub.requests]
    [_, started] = [number for number, line in enumerate(lines) if line == "POST /apis/v2beta1/runs"]
    assert lines[:started].count(f"GET /apis/v2beta1/runs/{first.run_id}") == 2
    assert lines[started:].count(f"GET /apis/v2beta1/runs/{second.run_id}") == 2


def test_beside_looks_for_no_run(graft, stub):
    graft("submit", "--host", stub.host, DATA)
    assert graft("submit", "--host", stub.host, DATA, "--beside").code == 0
    assert len(stub.runs) == 2


# A run that never ends.


def test_waiting_ends_at_its_limit_and_the_run_goes_on(graft, stub):
    stub.states = ["RUNNING"]
    typed = graft("submit", "--host", stub.host, DATA, "--wait", "--wait-limit", "0.002")
    assert typed.code == 1
    assert "has not ended within the minutes of --wait-limit" in typed.err
    assert "whose Workflow was removed" in typed.err
    assert f"The run goes on: {stub.host}/#/runs/details/{only(stub.runs).run_id}" in typed.err


def test_a_limit_without_waiting_is_refused(graft, stub):
    typed = graft("submit", "--host", stub.host, DATA, "--wait-limit", 5)
    assert (typed.code, "--wait-limit: expected --wait" in typed.err) == (2, True)
    assert not stub.requests


def test_a_long_time_without_a_change_is_said(graft, stub, monkeypatch):
    """Ever less often; a task that begins or ends is a change."""
    monkeypatch.setattr(runs, "QUIET", 0.01)
    stub.states = ["RUNNING"]
    typed = graft("submit", "--host", stub.host, DATA, "--wait", "--wait-limit", "0.004")
    said = [line for line in typed.out.splitlines() if line.startswith("Waiting:  no change for")]
    assert 1 < len(said) < 6
    assert "the server never says that it ended" in said[0]


def test_a_namespace_that_the_server_passes_over_is_said(graft, stub):
    typed = graft("submit", "--host", stub.host, "--namespace", "team-a", DATA)
    assert typed.code == 0
    assert typed.err == "graft: --namespace team-a: passed over, because this Kubeflow has a single user.\n"
    assert not any(request.query.get("namespace") for request in stub.requests)


def test_waiting_outlives_a_server_that_is_away_for_a_moment(graft, stub):
    stub.fail("GET .*/runs/.*", 503, "upstream connect error", times=3)
    assert graft("submit", "--host", stub.host, DATA, "--wait").code == 0


def test_waiting_ends_with_what_a_server_refuses(graft, stub):
    stub.fail("GET .*/runs/.*", 404, "Run not found")
    typed = graft("submit", "--host", stub.host, DATA, "--wait")
    assert typed.code == 1
    assert "Run not found" in typed.err


def test_waiting_for_a_server_that_is_gone_says_that_the_run_goes_on(graft, stub):
    stub.fail("GET .*/runs/.*", 503, "upstream connect error", times=1000)
    typed = graft("submit", "--host", stub.host, DATA, "--wait")
    assert typed.code == 1
    assert "upstream connect error" in typed.err
    assert f"The run goes on: {stub.host}/#/runs/details/{only(stub.runs).run_id}" in typed.err


def test_compile_hands_over_what_is_configured(graft, monkeypatch, tmp_path):
    """A line of graft.toml, an argument and an option."""
    written = {}
    compiler = types.SimpleNamespace(
        compile_spec=lambda config, image, root, stores, pods: {
            "data": config.data,
            "epochs": config.head_epochs,
            "in": [image, root, stores],
            "env": pods.env,
        },
        write_spec=lambda spec, output, pods: written.update({output: spec | {"cores": pods.cpu_request}}),
    )
    monkeypatch.setitem(sys.modules, "kubeflow.compile", compiler)
    (tmp_path / "graft.toml").write_text('data = "elsewhere"\nhead_epochs = 7\n[kubeflow]\ncpu_request = 3\n')
    typed = graft(
        "compile", str(tmp_path), "--image", "registry/graft:1", "--pipeline-root", "s3://b/r", "--out", "/o",
        "--env", "A=b",
    )  # fmt: skip
    assert (typed.code, typed.err) == (0, "")
    pods = {"env": {"A": "b"}, "cores": 3}
    assert written == {
        "graft.yaml": {"data": str(tmp_path), "epochs": 7, "in": ["registry/graft:1", "s3://b/r", None]} | pods
    }
    note = f"Note:     {tmp_path} lies in no volume claim of [kubeflow]; a pod has there what the image has."
    assert typed.out == f"Wrote:    graft.yaml\n{note}\nNext:     ./graft kubeflow submit graft.yaml\n"


# What goes wrong at the server.


def test_a_server_that_is_not_there_is_one_line(graft):
    address = f"127.0.0.1:{pick_port()}"
    typed = graft("submit", "--host", f"http://user:hush@{address}", DATA)
    assert_one_line(typed, 1, f"{API}http://{address} does not answer (connection refused)", "port-forward", "--host")
    assert "hush" not in typed.err


def test_a_server_that_does_not_answer_in_time_is_one_line(graft, stub, monkeypatch):
    monkeypatch.setattr(client, "TIMEOUT", (0.2, 0.2))
    stub.delay("GET .*/healthz", 20)
    assert_one_line(graft("submit", "--host", stub.host, DATA), 1, API, "does not answer within 0.2 s")


def test_a_run_that_is_answered_too_late_may_have_been_started(graft, stub, monkeypatch):
    monkeypatch.setattr(client, "TIMEOUT", (1, 1))
    stub.delay("POST .*/runs", 20)
    assert_one_line(graft("submit", "--host", stub.host, DATA), 1, "The request may have been carried out")


@pytest.mark.parametrize(
    ("line", "status", "message", "said"),
    [
        ("GET .*/healthz", 404, "Not Found", ["404", "Kubeflow Pipelines 2.0 or newer"]),
        ("GET .*/healthz", 401, "no identity", ["401", "KF_PIPELINES_SA_TOKEN_PATH"]),
        ("POST .*/runs", 403, "User 'a' is not authorized", ["403", "User 'a' is not authorized", "namespace"]),
        ("POST .*/upload_version", 409, "The name exists", ["409", "The name exists", "same command again"]),
        ("POST .*/upload_version", 500, "no space in the bucket", ["500", "no space in the bucket"]),
        ("POST .*/runs", 500, "the database is gone", ["500", "the database is gone"]),
    ],
)
def test_what_a_server_refuses_is_one_line(graft, stub, line, status, message, said):
    stub.fail(line, status, message)
    assert_one_line(graft("submit", "--host", stub.host, DATA), 1, API, *said)


def test_a_page_to_log_in_is_taken_for_what_it_is(graft):
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"
    with socket.create_server(("127.0.0.1", 0)) as server:
        answers = threading.Thread(target=lambda: server.accept()[0].sendall(page), daemon=True)
        answers.start()
        typed = graft("submit", "--host", f"http://127.0.0.1:{server.getsockname()[1]}", DATA)
    assert_one_line(typed, 1, "a login", "KF_PIPELINES_SA_TOKEN_PATH")


# What goes wrong before.


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--window-end", "23.11.2026"], ["window_end", "such as 2026-11-23", "'23.11.2026'"]),
        (["--window-end", "2026-02-30"], ["such as 2026-11-23"]),
        (["--param", "window_end=20261123"], ["such as 2026-11-23"]),
        (["--param", "epochs=3"], ["no parameter epochs", "data, force, min_accuracy"]),
        (["--param", "epochs"], ["NAME=VALUE"]),
        (["--param", "window_days=a week"], ["window_days", "a whole number", "'a week'"]),
        (["--param", "min_accuracy=nan"], ["a number"]),
        (["--param", "warm_start=yes"], ["true or false"]),
        (["--param", "window_days=3", "--window-days", "7"], ["given twice"]),
        (["--host", "localhost:8080"], ["--host", "http://HOST:PORT"]),
    ],
)
def test_what_is_typed_wrong_is_refused_before_anything_is_sent(graft, stub, arguments, said):
    typed = graft("submit", "--host", stub.host, DATA, *arguments)
    assert_one_line(typed, 2, *said)
    assert not stub.requests


def test_a_missing_parameter_is_named(graft, stub):
    assert_one_line(graft("submit", "--host", stub.host), 2, "missing parameter data: --param data=...")
    assert not stub.requests


def test_an_optional_parameter_may_be_missing(graft, stub, tmp_path):
    write_spec(tmp_path / "graft.yaml", data={"parameterType": "STRING", "isOptional": True})
    assert graft("submit", "--host", stub.host).code == 0


def test_a_window_that_the_spec_does_not_know_is_refused(graft, stub, tmp_path):
    write_spec(tmp_path / "graft.yaml", window_days=None)
    typed = graft("submit", "--host", stub.host, DATA, "--window-days", 3)
    assert_one_line(typed, 2, "--window-days", "no parameter window_days")


def test_a_pipeline_root_that_is_no_uri_is_refused(graft, stub):
    typed = graft("submit", "--host", stub.host, DATA, "--pipeline-root", "root")
    assert typed.code == 2
    assert "such as gs://bucket/graft" in typed.err
    assert not stub.requests


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.yaml", None, "No such file"),
        ("graft.json", "{}", "expected a .yaml file"),
        ("a.yaml", "a: [", "not valid YAML"),
        ("a.yaml", "", "not a pipeline spec"),
        ("a.yaml", "pipelineInfo: graft", "not a pipeline spec"),
        ("a.yaml", "- 1", "not a pipeline spec"),
        ("a.yaml", yaml.safe_dump(SPEC | {"schemaVersion": "2.0.0"}), "schemaVersion 2.0.0, expected 2.1.0"),
        ("a.yaml", b"\xff\xfe\x00", "not valid YAML"),
    ],
)
def test_a_file_that_is_no_spec_is_refused(graft, tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert_one_line(graft("submit", name), 2, name, said, "`./graft kubeflow compile` writes one")


def test_a_token_file_that_is_not_there_is_named(graft, stub, monkeypatch):
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", "/none")
    assert_one_line(graft("submit", "--host", stub.host, DATA), 2, "KF_PIPELINES_SA_TOKEN_PATH: /none", "No such file")


def test_a_broken_configuration_of_kfp_is_one_line(graft, stub, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "context.json").write_text('{"namespace": hush')
    typed = graft("submit", "--host", stub.host, DATA)
    assert_one_line(typed, 1, "kfp's configuration cannot be used", "context.json")
    assert "hush" not in typed.err


def test_help_imports_no_kfp():
    """Help is there at once."""
    code = (
        "import sys; from kubeflow.cli import cli\n"
        "for command in (['kubeflow', '-h'], ['kubeflow', 'submit', '-h'], ['kubeflow', 'schedule', '-h']):\n"
        "    cli.main(command, standalone_mode=False)\n"
        "print('MODULES', *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300, check=True
    )
    modules = set(done.stdout.rpartition("MODULES")[2].split())
    assert not modules & {"kfp", "kfp_server_api", "croniter", "yaml", "urllib3", "tensorflow", "tfx"}
    assert "--cron" in done.stdout
