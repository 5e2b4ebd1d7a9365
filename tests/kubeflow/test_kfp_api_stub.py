"""The stub refuses what the backend refuses, and answers with models of kfp-server-api."""

import io
import json
import time
import urllib.error
import urllib.request

import kfp
import kfp_server_api
import pytest
import yaml
from kfp_api_stub import KfpApiStub
from kubeflow_commands import SPEC

RECURRING = {
    "display_name": "nightly",
    "max_concurrency": "1",
    "mode": "ENABLE",
    "no_catchup": True,
    "trigger": {"cron_schedule": {"cron": "0 0 3 * * *"}},
}


@pytest.fixture
def post(stub):
    """Sends a JSON; returns the status and the answer."""

    def send(path, body, method="POST"):
        request = urllib.request.Request(f"{stub.host}/apis/v2beta1/{path}", json.dumps(body).encode(), method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    return send


@pytest.fixture
def client(stub, tmp_path, monkeypatch):
    """The unmodified client of kfp."""
    monkeypatch.setattr(kfp.Client, "_LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    return kfp.Client(host=stub.host)


@pytest.fixture
def uploaded(client, tmp_path):
    """Objects that a run refers to: an experiment, a pipeline and a version."""
    (tmp_path / "graft.yaml").write_text(yaml.safe_dump(SPEC))
    pipeline = client.upload_pipeline(str(tmp_path / "graft.yaml"), "graft")
    version = client.upload_pipeline_version(str(tmp_path / "graft.yaml"), "1", pipeline_id=pipeline.pipeline_id)
    reference = {"pipeline_id": pipeline.pipeline_id, "pipeline_version_id": version.pipeline_version_id}
    return {
        "experiment_id": client.create_experiment("graft").experiment_id,
        "pipeline_version_reference": reference,
        "runtime_config": {"parameters": {"data": "s3://bucket"}},
    }


def test_kfps_own_client_goes_through_the_life_of_a_pipeline(client, uploaded):
    ids = uploaded["pipeline_version_reference"]
    where = {"pipeline_id": ids["pipeline_id"], "version_id": ids["pipeline_version_id"]}
    run = client.run_pipeline(uploaded["experiment_id"], "once", params={"data": "a"}, **where)
    assert client.wait_for_run_completion(run.run_id, timeout=120, sleep_duration=0).state == "SUCCEEDED"
    made = client.create_recurring_run(
        uploaded["experiment_id"], "nightly", cron_expression="0 0 3 * * *", params={"data": "a"}, **where
    )
    assert (made.status, made.max_concurrency) == ("ENABLED", "1")
    client.disable_recurring_run(made.recurring_run_id)
    assert client.get_recurring_run(made.recurring_run_id).status == "DISABLED"
    client.enable_recurring_run(made.recurring_run_id)
    assert [r.status for r in client.list_recurring_runs().recurring_runs] == ["ENABLED"]
    client.delete_recurring_run(made.recurring_run_id)
    assert not client.list_recurring_runs(experiment_id=uploaded["experiment_id"]).recurring_runs
    assert [r.display_name for r in client.list_runs().runs] == ["once"]


def test_a_pipeline_is_found_by_its_name(client, uploaded):
    assert client.get_pipeline_id("graft") == uploaded["pipeline_version_reference"]["pipeline_id"]
    assert client.get_pipeline_id("another") is None


def test_the_first_version_of_an_uploaded_pipeline_has_its_name(client, uploaded):
    """This is why Graft does not use upload_pipeline."""
    versions = client.list_pipeline_versions(uploaded["pipeline_version_reference"]["pipeline_id"])
    assert [v.display_name for v in versions.pipeline_versions] == ["graft", "1"]


def test_a_list_comes_in_pages(client):
    for number in range(5):
        client.create_experiment(f"e{number}")
    first = client.list_experiments(page_size=2)
    second = client.list_experiments(page_size=2, page_token=first.next_page_token)
    third = client.list_experiments(page_size=2, page_token=second.next_page_token)
    names = [[e.display_name for e in page.experiments] for page in (first, second, third)]
    assert names == [["e0", "e1"], ["e2", "e3"], ["e4"]]
    assert not third.next_page_token


def test_a_list_is_sorted_newest_first_on_demand(client):
    for name in "ab":
        client.create_experiment(name)
    newest = client.list_experiments(sort_by="created_at desc").experiments
    assert [e.display_name for e in newest] == ["b", "a"]


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("experiments", {"display_name": "a", "colour": "red"}, 'unknown field "colour"'),
        ("experiments", {"display_name": 1.5}, "expected str"),
        ("runs", {"display_name": "a", "runtime_config": {"params": {}}}, 'unknown field "params"'),
        ("recurringruns", RECURRING | {"mode": "ON"}, "'ON'"),
        ("recurringruns", RECURRING | {"no_catchup": "yes"}, "expected bool"),
        ("recurringruns", RECURRING | {"trigger": {"cron": "0 0 3 * * *"}}, 'unknown field "cron"'),
    ],
)
def test_what_is_no_model_of_the_api_is_refused(post, path, body, said):
    status, answer = post(path, body)
    assert status == 400
    assert said in answer["message"]


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"max_concurrency": 11}, 400, "at most 10"),
        ({"max_concurrency": None}, 400, "at least 1"),
        ({"display_name": ""}, 500, "name cannot be empty"),
        ({"trigger": {"cron_schedule": {"cron": "0 3 * *"}}}, 400, "Expected 5 to 6 fields, found 4"),
        ({"trigger": {"cron_schedule": {"cron": "0 0 25 * * *"}}}, 400, "not a supported format"),
        ({"pipeline_version_reference": None}, 500, "source is missing"),
        ({"experiment_id": "none"}, 404, "not found"),
        ({"runtime_config": {"parameters": {}}}, 400, "parameter data is not optional"),
        ({"runtime_config": {"parameters": {"data": 3}}}, 400, "data requires type string"),
        ({"runtime_config": {"parameters": {"data": "a", "window_days": "3"}}}, 400, "requires type double or integer"),
        ({"runtime_config": {"parameters": {"data": "a", "warm_start": 1}}}, 400, "warm_start requires type bool"),
        ({"runtime_config": {"parameters": {"data": "a", "x": 1}}}, 400, "not required by pipeline: x"),
    ],
)
def test_a_recurring_run_that_the_backend_refuses_is_refused(post, uploaded, change, status, said):
    body = {name: value for name, value in (RECURRING | uploaded | change).items() if value is not None}
    refused, answer = post("recurringruns", body)
    assert refused == status
    assert said in answer["message"]


def test_five_fields_are_taken_as_the_backend_takes_them(post, uploaded):
    """robfig/cron 1.2 takes the weekday for the one that is missing: three minutes past each hour."""
    assert post("recurringruns", RECURRING | uploaded | {"trigger": {"cron_schedule": {"cron": "0 3 * * *"}}})[0] == 200


def test_a_name_is_there_once(client, uploaded, tmp_path, post):
    assert post("experiments", {"display_name": "graft"})[0] == 409
    assert post("pipelines", {"display_name": "graft"})[0] == 409
    pipeline_id = uploaded["pipeline_version_reference"]["pipeline_id"]
    with pytest.raises(kfp_server_api.ApiException) as refused:
        client.upload_pipeline_version(str(tmp_path / "graft.yaml"), "1", pipeline_id=pipeline_id)
    assert refused.value.status == 409


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("graft.json", SPEC, "Unexpected pipeline file format"),
        ("graft.yaml", SPEC | {"schemaVersion": "2.0.0"}, "schema version 2.1.0"),
        ("graft.yaml", SPEC | {"pipelineInfo": {}}, "name is empty"),
        ("graft.yaml", SPEC | {"colour": "red"}, "invalid v2 pipeline spec"),
    ],
)
def test_an_upload_that_is_no_spec_is_refused(stub, client, tmp_path, name, content, said):
    (tmp_path / name).write_text(yaml.safe_dump(content))
    with pytest.raises(kfp_server_api.ApiException) as refused:
        client.upload_pipeline(str(tmp_path / name), "graft")
    assert refused.value.status == 400
    assert said in json.loads(refused.value.body)["error_message"]
    assert not stub.pipelines


def test_for_many_users_a_namespace_is_needed(post):
    with KfpApiStub(multi_user=True) as stub, pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{stub.host}/apis/v2beta1/experiments", timeout=120)
    assert refused.value.code == 400


def test_without_its_token_nothing_is_answered():
    with KfpApiStub(token="secret") as stub:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{stub.host}/apis/v2beta1/healthz", timeout=120)
        headers = {"Authorization": "Bearer secret"}
        request = urllib.request.Request(f"{stub.host}/apis/v2beta1/healthz", headers=headers)
        assert urllib.request.urlopen(request, timeout=120).status == 200
    assert refused.value.code == 401


def test_an_error_on_demand_comes_as_often_as_it_was_asked_for(stub, post):
    stub.fail("POST .*/experiments", 500, "the database is gone", times=2)
    answers = [post("experiments", {"display_name": "graft"})[0] for _ in range(3)]
    assert answers == [500, 500, 200]


def test_an_answer_that_is_lost_is_of_something_done(stub, post):
    stub.fail("POST .*/experiments", 503, after=True)
    assert post("experiments", {"display_name": "graft"})[0] == 503
    assert len(stub.experiments) == 1


def test_what_waits_for_a_slow_answer_ends_with_the_stub(post):
    with KfpApiStub() as stub:
        stub.delay("GET .*", 120)
        started = time.monotonic()
        with pytest.raises((TimeoutError, urllib.error.URLError)):
            urllib.request.urlopen(f"{stub.host}/apis/v2beta1/healthz", timeout=0.2)
    assert time.monotonic() - started < 60


def test_a_body_larger_than_the_backend_takes_is_refused_before_it_is_read(stub):
    headers = {"Content-Length": str((32 << 20) + 1), "Content-Type": "application/json"}
    request = urllib.request.Request(f"{stub.host}/apis/v2beta1/experiments", io.BytesIO(b"{}"), headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=120)
    assert refused.value.code == 400
