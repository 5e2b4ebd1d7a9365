"""The strict executor does what the backend does: each test names a rule, with containers that run `python -c`."""

import copy
import json
import pathlib
import sys

import pytest
from strict_executor import RefusedError, StrictBackend
from waiting import wait_until

PRELUDE = """
import json, os, pathlib, sys
given = json.loads(sys.argv[1])
inputs, outputs = given.get("inputs", {}), given["outputs"]
def uri(key):
    return pathlib.Path(outputs["artifacts"][key]["artifacts"][0]["uri"])
def write(**fields):
    path = pathlib.Path(outputs["outputFile"])
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(fields))
def artifact(key, **fields):
    return {key: {"artifacts": [fields]}}
"""
TITLE = {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}


def make_task(
    code="",
    parameters=None,
    artifacts=None,
    types=None,
    outputs=(),
    output_parameters=None,
    condition=None,
    after=(),
    cache=False,
    args=("{{$}}",),
):
    """Returns a task; `parameters` and `artifacts` name the sources of its inputs, a tuple is (task, key)."""
    sources = {}
    for key, source in (parameters or {}).items():
        if isinstance(source, tuple):
            sources[key] = {"taskOutputParameter": {"producerTask": source[0], "outputParameterKey": source[1]}}
        elif isinstance(source, dict):
            sources[key] = source
        else:
            sources[key] = {"runtimeValue": {"constant": source}}
    found = {
        key: {"taskOutputArtifact": {"producerTask": task, "outputArtifactKey": output}}
        for key, (task, output) in (artifacts or {}).items()
    }
    kinds = {str: "STRING", bool: "BOOLEAN", int: "NUMBER_INTEGER", float: "NUMBER_DOUBLE", list: "LIST"}
    guessed = {key: kinds.get(type(source), "STRING") for key, source in (parameters or {}).items()}
    return {
        "task": {
            "inputs": {"parameters": sources, "artifacts": found},
            "dependentTasks": list(after),
            "cachingOptions": {"enableCache": cache},
            **({"triggerPolicy": {"condition": condition}} if condition else {}),
        },
        "component": {
            "inputDefinitions": {
                "parameters": {
                    key: kind if isinstance(kind, dict) else {"parameterType": kind}
                    for key, kind in (guessed | (types or {})).items()
                },
                "artifacts": {key: {"artifactType": dict(TITLE)} for key in found},
            },
            "outputDefinitions": {
                "artifacts": {key: {"artifactType": dict(TITLE)} for key in outputs},
                "parameters": {key: {"parameterType": kind} for key, kind in (output_parameters or {}).items()},
            },
        },
        "container": {"image": "image:1", "command": ["python", "-c", PRELUDE + code], "args": list(args)},
    }


def make_spec(root=None, **tasks):
    """Returns a pipeline spec of some tasks; `root` has the definitions of its parameters."""
    tasks = {name.replace("_", "-"): task for name, task in tasks.items()}
    return {
        "schemaVersion": "2.1.0",
        "pipelineInfo": {"name": "pets"},
        "root": {
            "inputDefinitions": {"parameters": root or {}},
            "dag": {
                "tasks": {
                    name: {**task["task"], "taskInfo": {"name": name}, "componentRef": {"name": f"comp-{name}"}}
                    for name, task in tasks.items()
                }
            },
        },
        "components": {
            f"comp-{name}": {**task["component"], "executorLabel": f"exec-{name}"} for name, task in tasks.items()
        },
        "deploymentSpec": {
            "executors": {f"exec-{name}": {"container": task["container"]} for name, task in tasks.items()}
        },
    }


@pytest.fixture
def backend(tmp_path):
    return StrictBackend(tmp_path / "cluster")


@pytest.fixture
def run(backend):
    """Runs tasks on one backend; returns the result."""
    return lambda _parameters=None, root=None, **tasks: backend.run(make_spec(root, **tasks), _parameters or {})


WRITE_DATA = 'uri("data").write_text("cats"); write(artifacts=artifact("data", metadata={"images": 3}))'
PRINT_INPUT = "print(json.dumps(given))"


def test_executor_input_is_what_the_driver_sends(run):
    """Outputs have a type and no name, inputs a name and an empty schema; the logs are one output more."""
    result = run(
        a=make_task(WRITE_DATA, outputs=["data"]),
        b=make_task(
            PRINT_INPUT + '; write(parameterValues={"score": 1})',
            parameters={"epochs": 3, "rate": 0.5, "name": "x"},
            artifacts={"examples": ("a", "data")},
            outputs=["model"],
            output_parameters={"score": "NUMBER_DOUBLE"},
        ),
    )
    assert result.state == "SUCCEEDED"
    given = json.loads(result.tasks["b"].log)
    folder = pathlib.Path(given["outputs"]["artifacts"]["model"]["artifacts"][0]["uri"]).parent
    temporary = pathlib.Path(given["outputs"]["outputFile"]).parents[1]
    assert given == {
        "inputs": {
            "parameterValues": {"epochs": 3, "rate": 0.5, "name": "x"},
            "artifacts": {
                "examples": {
                    "artifacts": [
                        {
                            "name": result.tasks["a"].outputs["data"]["name"],
                            "type": {"instanceSchema": ""},
                            "uri": result.tasks["a"].outputs["data"]["uri"],
                            "metadata": {"display_name": "data", "store_session_info": "{}", "images": 3},
                        }
                    ]
                }
            },
        },
        "outputs": {
            "artifacts": {
                "model": {"artifacts": [{"type": TITLE, "uri": str(folder / "model")}]},
                "executor-logs": {
                    "artifacts": [{"type": {"schemaTitle": "system.Artifact"}, "uri": str(folder / "executor-logs")}]
                },
            },
            "parameters": {"score": {"outputFile": str(temporary / "kfp/outputs/score")}},
            "outputFile": str(temporary / "kfp_outputs/output_metadata.json"),
        },
    }
    assert type(given["inputs"]["parameterValues"]["epochs"]) is int  # written without a point


def test_uris_are_under_the_pipeline_root_by_pipeline_run_and_task(run, tmp_path):
    result = run(a=make_task(WRITE_DATA, outputs=["data"]))
    uri = pathlib.Path(result.tasks["a"].outputs["data"]["uri"])
    assert uri.parents[1] == tmp_path / "cluster/pipeline_root/pets" / result.run_id / "a"
    assert uri.read_text() == "cats"


def test_newest_versions_keep_the_title_of_an_input(tmp_path):
    tasks = {
        "a": make_task(WRITE_DATA, outputs=["data"]),
        "b": make_task(PRINT_INPUT, artifacts={"examples": ("a", "data")}),
    }
    result = StrictBackend(tmp_path, keep_titles=True).run(make_spec(**tasks), {})
    given = json.loads(result.tasks["b"].log)
    assert given["inputs"]["artifacts"]["examples"]["artifacts"][0]["type"] == TITLE


def test_only_uri_and_metadata_reach_the_next_task(run):
    code = """
write(artifacts=artifact("data", name="mine", type={"schemaTitle": "system.Model"}, metadata={"a": "b"},
      customProperties={"lost": {"stringValue": "x"}}, uri=str(uri("data") / "moved")))
"""
    result = run(a=make_task(code, outputs=["data"]))
    data = result.tasks["a"].outputs["data"]
    assert data["uri"].endswith("/data/moved")
    assert data["metadata"] == {"display_name": "data", "store_session_info": "{}", "a": "b"}
    assert data["name"].isdigit()
    assert data["type"] == {"instanceSchema": ""}
    assert "customProperties" not in data


def test_metadata_changes_on_its_way_through_the_store(run):
    values = {"blessed": True, "no": False, "list": [1, "a"], "struct": {"x": 1.5}, "whole": 2.0}
    code = f'write(artifacts=artifact("data", metadata={values!r}))'
    result = run(a=make_task(code, outputs=["data"]))
    metadata = result.tasks["a"].outputs["data"]["metadata"]
    assert {key: metadata[key] for key in values} == {
        "blessed": 1,
        "no": 0,
        "list": {"list": [1, "a"]},
        "struct": {"struct": {"x": 1.5}},
        "whole": 2,
    }
    assert type(metadata["blessed"]) is int


def test_metadata_that_is_null_fails_the_task(run):
    result = run(a=make_task('write(artifacts=artifact("data", metadata={"blessed": None}))', outputs=["data"]))
    assert result.state == "FAILED"
    assert "blessed is null" in result.tasks["a"].log


def test_metadata_of_the_definition_is_kept(run):
    task = make_task(WRITE_DATA, outputs=["data"])
    task["component"]["outputDefinitions"]["artifacts"]["data"]["metadata"] = {"images": 0, "kind": "pets"}
    metadata = run(a=task).tasks["a"].outputs["data"]["metadata"]
    assert (metadata["images"], metadata["kind"]) == (3, "pets")


def test_folder_around_an_output_is_made_and_the_output_is_not(run):
    code = """
print(uri("data").parent.is_dir(), uri("data").exists(), pathlib.Path(outputs["outputFile"]).parent.exists())
"""
    assert run(a=make_task(code, outputs=["data"])).tasks["a"].log == "True False False\n"


def test_output_without_a_file_is_recorded(run):
    result = run(a=make_task(outputs=["data"]), b=make_task(PRINT_INPUT, artifacts={"x": ("a", "data")}))
    assert result.state == "SUCCEEDED"
    assert "/data" in json.loads(result.tasks["b"].log)["inputs"]["artifacts"]["x"]["artifacts"][0]["uri"]


def test_output_moved_out_of_the_run_fails_the_task(run):
    result = run(a=make_task('write(artifacts=artifact("data", uri="/elsewhere"))', outputs=["data"]))
    assert result.tasks["a"].state == "FAILED"
    assert 'URI "/elsewhere" does not have expected bucket prefix' in result.tasks["a"].log


def test_output_file_with_an_unknown_field_fails_the_task(run):
    result = run(a=make_task("write(parameterValue={})"))
    assert result.state == "FAILED"
    assert "failed to unmarshall ExecutorOutput" in result.tasks["a"].log
    assert result.tasks["a"].exit_code == 1


def test_root_defaults_and_given_parameters_reach_the_task(run):
    root = {
        "epochs": {"parameterType": "NUMBER_INTEGER", "defaultValue": 3},
        "name": {"parameterType": "STRING", "defaultValue": "x"},
        "note": {"parameterType": "STRING", "isOptional": True},
    }
    types = {
        "epochs": "NUMBER_INTEGER",
        "name": "STRING",
        "note": {"parameterType": "STRING", "isOptional": True},
    }
    task = make_task(PRINT_INPUT, {key: {"componentInputParameter": key} for key in root}, types=types)
    result = run({"name": "y"}, root, a=task)
    assert json.loads(result.tasks["a"].log)["inputs"]["parameterValues"] == {"epochs": 3, "name": "y"}


def test_null_root_parameter_fails_a_task_that_needs_it(run):
    root = {"note": {"parameterType": "STRING", "isOptional": True}}
    result = run({}, root, a=make_task(parameters={"note": {"componentInputParameter": "note"}}))
    assert result.state == "FAILED"
    assert "the resolved input parameter is null: note" in result.tasks["a"].log


def test_component_default_is_in_the_placeholder_and_not_in_the_condition(run):
    optional = {"note": {"parameterType": "STRING", "isOptional": True, "defaultValue": "hello"}}
    printed = run(a=make_task(PRINT_INPUT, types=optional)).tasks["a"].log
    assert json.loads(printed)["inputs"]["parameterValues"] == {"note": "hello"}
    result = run(a=make_task(types=optional, condition="inputs.parameter_values['note'] == 'hello'"))
    assert result.state == "FAILED"
    assert "no such key: note" in result.tasks["a"].log


def test_placeholders_of_the_run_are_replaced_in_constants(run):
    result = run(a=make_task(PRINT_INPUT, {"run": "{{$.pipeline_job_uuid}}", "text": "run {{$.pipeline_job_uuid}}"}))
    assert json.loads(result.tasks["a"].log)["inputs"]["parameterValues"] == {
        "run": result.run_id,
        "text": "run {{$.pipeline_job_uuid}}",
    }


def test_every_placeholder_is_replaced_and_other_text_is_not(run):
    parameters = {"text": "a b", "whole": 3, "small": 1e-7, "yes": True, "list": [1, "x"]}
    args = [f"{{{{$.inputs.parameters['{key}']}}}}" for key in parameters]
    args += [
        "{{$.inputs.artifacts['x'].uri}}",
        "{{$.inputs.artifacts['x'].path}}",
        "--out={{$.outputs.artifacts['data'].uri}}",
    ]
    args += ["{{$.outputs.parameters['score'].output_file}}", "{{$.inputs.artifacts['x'].metadata['images']}}"]
    result = run(
        a=make_task(WRITE_DATA, outputs=["data"]),
        b=make_task(
            'print(json.dumps(sys.argv[2:])); open(sys.argv[-2], "w").write("1")',
            parameters,
            {"x": ("a", "data")},
            outputs=["data"],
            output_parameters={"score": "NUMBER_INTEGER"},
            args=["{{$}}", *args],
        ),
    )
    given = result.tasks["a"].outputs["data"]["uri"]
    said = json.loads(result.tasks["b"].log)
    assert said[:5] == ["a b", "3", "0.0000001", "true", '[1,"x"]']
    assert said[5:8] == [given, given, f"--out={result.tasks['b'].outputs['data']['uri']}"]
    assert said[9] == "{{$.inputs.artifacts['x'].metadata['images']}}"
    assert result.tasks["b"].parameters == {"score": 1.0}


def test_anything_becomes_text_for_a_string_parameter(run):
    types = {"number": "STRING", "yes": "STRING", "list": "STRING"}
    result = run(a=make_task(PRINT_INPUT, {"number": 3, "yes": True, "list": [1]}, types=types))
    values = json.loads(result.tasks["a"].log)["inputs"]["parameterValues"]
    assert values == {"number": "3", "yes": "true", "list": "[1]"}


def test_value_of_another_type_fails_the_driver(run):
    result = run(a=make_task("print('ran')", {"epochs": "3"}, types={"epochs": "NUMBER_INTEGER"}))
    assert result.state == "FAILED"
    assert 'input parameter "epochs" type mismatch: expect NUMBER_INTEGER, got string' in result.tasks["a"].log
    assert result.tasks["a"].exit_code is None


@pytest.mark.parametrize(
    ("code", "kind", "value"),
    [
        ('write(parameterValues={"p": "from the output file"})', "STRING", "from the output file"),
        ('pathlib.Path(outputs["parameters"]["p"]["outputFile"]).write_text("7")', "NUMBER_INTEGER", 7.0),
        ('pathlib.Path(outputs["parameters"]["p"]["outputFile"]).write_text("True")', "BOOLEAN", True),
        ('pathlib.Path(outputs["parameters"]["p"]["outputFile"]).write_text("[1]")', "LIST", [1.0]),
    ],
)
def test_output_parameter_reaches_the_next_task(run, code, kind, value):
    result = run(
        a=make_task(code, output_parameters={"p": kind}), b=make_task(PRINT_INPUT, {"q": ("a", "p")}, types={"q": kind})
    )
    assert result.tasks["a"].parameters == {"p": value}
    assert json.loads(result.tasks["b"].log)["inputs"]["parameterValues"] == {"q": value}


@pytest.mark.parametrize("text", [None, "no number", "1.5"])
def test_output_parameter_that_is_missing_or_of_another_type_fails_the_task(run, text):
    code = f'pathlib.Path(outputs["parameters"]["p"]["outputFile"]).write_text({text!r})' if text else ""
    result = run(a=make_task(code, output_parameters={"p": "NUMBER_INTEGER"}))
    assert result.state == "FAILED"
    assert 'failed to read output parameter name="p" type="NUMBER_INTEGER"' in result.tasks["a"].log


@pytest.mark.parametrize(
    ("condition", "runs"),
    [
        ("inputs.parameter_values['s'] == 'yes'", True),
        ("inputs.parameter_values['s'] != 'yes'", False),
        ('inputs.parameter_values["s"]=="yes"&&inputs.parameter_values["n"] == 3.0', True),
        ("inputs.parameter_values['s'] == 'yes' && inputs.parameter_values['n'] > 3.5", False),
        ("int(inputs.parameter_values['n']) >= 3", True),
        ("int(inputs.parameter_values['digits']) == 12", True),
        ("inputs.parameter_values['b'] == true", True),
        ("inputs.parameter_values['missing'] == 'x' && inputs.parameter_values['s'] == 'no'", False),
    ],
)
def test_condition_decides_whether_a_task_runs(run, condition, runs):
    task = make_task("print('ran')", {"s": "yes", "n": 3.0, "b": True, "digits": "12"}, condition=condition)
    result = run(a=task)
    assert result.state == "SUCCEEDED"
    assert result.tasks["a"].state == ("SUCCEEDED" if runs else "SKIPPED")
    assert (result.tasks["a"].log == "ran\n") == runs


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("inputs.parameter_values['n'] == 3", "no such overload"),
        ("inputs.parameter_values['n'] == '3'", "no such overload"),
        ("inputs.parameter_values['missing'] == 'x'", "no such key: missing"),
        ("int(inputs.parameter_values['s']) == 3", "type conversion error"),
        ("int(inputs.parameter_values['b']) == 1", "no such overload"),
    ],
)
def test_condition_that_cel_cannot_evaluate_fails_the_run(run, condition, words):
    result = run(a=make_task("", {"n": 3.0, "s": "x", "b": True}, condition=condition))
    assert result.state == "FAILED"
    assert words in result.tasks["a"].log


@pytest.mark.parametrize(
    "condition",
    [
        "inputs.parameters['n'].string_value == '3'",
        "inputs.artifacts['m'].artifacts[0].metadata['blessed'] == 1.0",
        "inputs.parameter_values['n'] == 'a' || true",
        "inputs.parameter_values['n'] == 'a' &&",
        "inputs.parameter_values['n'] == 'a' and",
        "true",
    ],
)
def test_condition_of_another_form_is_refused(run, condition):
    with pytest.raises(RefusedError, match="not modelled: the condition"):
        run(a=make_task("", {"n": "3"}, condition=condition))


def test_tasks_behind_a_skipped_one_are_skipped_and_the_run_succeeds(run):
    result = run(
        a=make_task("", {"x": "no"}, condition="inputs.parameter_values['x'] == 'yes'", outputs=["data"]),
        b=make_task("'b'", artifacts={"in": ("a", "data")}),
        c=make_task("'c'", after=["b"]),
        d=make_task("'d'"),
    )
    assert result.state == "SUCCEEDED"
    assert {name: task.state for name, task in result.tasks.items()} == {
        "a": "SKIPPED",
        "b": "SKIPPED",
        "c": "SKIPPED",
        "d": "SUCCEEDED",
    }


def test_failed_task_fails_the_run_and_what_waits_for_it_does_not_run(run):
    result = run(
        a=make_task("print('out', flush=True); sys.exit('broken')"),
        b=make_task(after=["a"]),
        c=make_task(),
        d=make_task(after=["c"]),
    )
    assert result.state == "FAILED"
    assert {name: task.state for name, task in result.tasks.items()} == {
        "a": "FAILED",
        "b": "SKIPPED",
        "c": "SUCCEEDED",
        "d": "SUCCEEDED",
    }
    assert result.tasks["a"].exit_code == 1
    assert result.tasks["a"].log == ("out\nbroken\nfailed to execute component: exit status 1\nError: exit status 1\n")


def test_launcher_ends_with_1_and_the_log_has_the_exit_code(run):
    task = run(a=make_task("sys.exit(3)")).tasks["a"]
    assert task.exit_code == 1
    assert task.log == "failed to execute component: exit status 3\nError: exit status 1\n"


def test_umask_of_a_task_is_0(run):
    """Argo's executor sets it."""
    assert run(a=make_task("print(os.umask(0))")).tasks["a"].log == "0\n"


def test_program_that_is_not_there_fails_the_task(run):
    task = make_task()
    task["container"]["command"] = ["no-such-program"]
    result = run(a=task)
    assert result.tasks["a"].state == "FAILED"
    assert result.tasks["a"].exit_code == 1
    assert 'exec: "no-such-program"' in result.tasks["a"].log


def test_log_callback_hears_of_each_task_and_why_one_failed(backend):
    lines = []
    backend.run(make_spec(a=make_task(), b=make_task("sys.exit('broken')")), {}, log=lines.append)
    assert lines[0].startswith("a: SUCCEEDED in ")
    assert lines[1].startswith("b: FAILED in ")
    assert "broken" in lines[2]


def test_tasks_run_behind_what_they_wait_for(run):
    result = run(
        a=make_task(after=["z"]),
        b=make_task("'b'", {"x": ("y", "p")}),
        y=make_task('write(parameterValues={"p": "x"})', output_parameters={"p": "STRING"}),
        z=make_task(),
    )
    order = list(result.tasks)
    assert order.index("z") < order.index("a")
    assert order.index("y") < order.index("b")


def test_task_runs_in_an_empty_folder_with_little_around_it(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "of the one who started this")
    task = make_task("print(json.dumps([os.getcwd(), os.listdir(), dict(os.environ), sys.prefix]))")
    task["container"]["env"] = [{"name": "FROM_SPEC", "value": "1"}]
    result = StrictBackend(tmp_path, {"FROM_IMAGE": "2"}).run(make_spec(a=task), {})
    folder, files, environment, prefix = json.loads(result.tasks["a"].log)
    assert folder.startswith(str(tmp_path))
    assert files == []
    assert prefix == sys.prefix
    assert environment.pop("HOME").startswith(str(tmp_path))
    assert environment.pop("TMPDIR").startswith(str(tmp_path))
    assert environment.pop("PATH").split(":")[0] == str(pathlib.Path(sys.executable).parent)
    assert {k: v for k, v in environment.items() if k != "LC_CTYPE"} == {"FROM_SPEC": "1", "FROM_IMAGE": "2"}


def test_what_a_task_leaves_outside_its_outputs_is_gone(run):
    leave = 'import tempfile; p = tempfile.mkdtemp(); open("here", "w"); write(parameterValues={"p": p})'
    look = 'print(os.path.exists(inputs["parameterValues"]["p"]), os.listdir(), os.listdir(os.environ["HOME"]))'
    result = run(
        a=make_task(leave, output_parameters={"p": "STRING"}),
        b=make_task(look, {"p": ("a", "p")}),
    )
    assert result.tasks["b"].log == "False [] []\n"


def test_processes_that_a_task_leaves_behind_end_with_it(run):
    code = 'import subprocess; print(subprocess.Popen(["sleep", "60"]).pid)'
    pid = int(run(a=make_task(code)).tasks["a"].log)
    wait_until(lambda: not _is_running(pid))


def _is_running(pid):
    """Tells whether a process runs, and is not a zombie."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


CACHED = {"code": WRITE_DATA, "outputs": ["data"], "cache": True}


def test_second_run_takes_a_cached_task_with_its_outputs(run):
    first, second = (run(a=make_task(**CACHED), b=make_task(PRINT_INPUT, artifacts={"x": ("a", "data")})) for _ in "12")
    assert [first.tasks["a"].state, second.tasks["a"].state] == ["SUCCEEDED", "CACHED"]
    assert second.tasks["a"].outputs == first.tasks["a"].outputs
    given = json.loads(second.tasks["b"].log)["inputs"]["artifacts"]["x"]["artifacts"][0]
    assert given == first.tasks["a"].outputs["data"]


def test_cache_lives_in_the_folder(tmp_path):
    spec = make_spec(a=make_task(**CACHED))
    states = [StrictBackend(tmp_path).run(spec, {}).tasks["a"].state for _ in range(2)]
    assert states == ["SUCCEEDED", "CACHED"]


def test_cached_output_parameters_reach_the_next_task(run):
    a = make_task('write(parameterValues={"p": 7})', output_parameters={"p": "NUMBER_INTEGER"}, cache=True)
    b = make_task(PRINT_INPUT, {"q": ("a", "p")}, types={"q": "NUMBER_INTEGER"})
    run(a=a, b=b)
    result = run(a=a, b=b)
    assert result.tasks["a"].state == "CACHED"
    assert json.loads(result.tasks["b"].log)["inputs"]["parameterValues"] == {"q": 7}


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: spec["deploymentSpec"]["executors"]["exec-a"]["container"].update(image="image:2"),
        lambda spec: spec["deploymentSpec"]["executors"]["exec-a"]["container"]["args"].append("--more"),
        lambda spec: spec["root"]["dag"]["tasks"]["a"]["inputs"]["parameters"]["x"]["runtimeValue"].update(
            constant="2"
        ),
        lambda spec: spec["pipelineInfo"].update(name="others"),
        lambda spec: spec["root"]["dag"]["tasks"]["a"]["cachingOptions"].update(enableCache=False),
        lambda spec: spec["components"]["comp-a"]["outputDefinitions"]["artifacts"].update(
            more={"artifactType": dict(TITLE)}
        ),
    ],
    ids=["image", "args", "parameter", "pipeline", "switched off", "output"],
)
def test_cache_is_not_used_after_a_change_of(backend, change):
    spec = make_spec(a=make_task(**CACHED, parameters={"x": "1"}))
    backend.run(spec, {})
    changed = copy.deepcopy(spec)
    change(changed)
    assert backend.run(changed, {}).tasks["a"].state == "SUCCEEDED"
    assert backend.run(spec, {}).tasks["a"].state == "CACHED"


def test_cache_does_not_see_environment_and_task_name(backend):
    """The key holds neither: an image with new code under an old tag is not seen either."""
    backend.run(make_spec(a=make_task(**CACHED)), {})
    task = make_task(**CACHED)
    task["container"]["env"] = [{"name": "X", "value": "1"}]
    assert backend.run(make_spec(b=task), {}).tasks["b"].state == "CACHED"


def test_cached_task_behind_an_uncached_one_runs_again(run):
    """Artifacts count by their number, and an uncached task makes new ones."""
    tasks = {
        "a": make_task(WRITE_DATA, outputs=["data"]),
        "b": make_task(**CACHED, artifacts={"x": ("a", "data")}, args=["{{$}}", "--id=b"]),
    }
    run(**tasks)
    assert run(**tasks).tasks["b"].state == "SUCCEEDED"


def test_failed_task_is_not_cached(run, tmp_path):
    marker = tmp_path / "marker"
    code = f'pathlib.Path({str(marker)!r}).exists() or sys.exit("not yet")'
    assert run(a=make_task(code, cache=True)).state == "FAILED"
    marker.touch()
    assert run(a=make_task(code, cache=True)).tasks["a"].state == "SUCCEEDED"


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({}, "parameter epochs is not optional, yet has neither default value nor user provided value"),
        ({"epochs": 1, "epoch": 2}, r"parameter\(s\) provided are not required by pipeline: epoch"),
        ({"epochs": "1"}, "input parameter epochs requires type double or integer"),
        ({"epochs": True}, "input parameter epochs requires type double or integer"),
        ({"epochs": None}, "input parameter epochs requires type double or integer"),
        ({"epochs": 1.5}, "input parameter epochs requires an integer, got 1.5"),
        ({"epochs": 1, "name": 2}, "input parameter name requires type string"),
        ({"epochs": 1, "name": pathlib.Path("x")}, "input parameter name"),
    ],
)
def test_parameters_of_a_run_are_refused(run, parameters, words):
    root = {
        "epochs": {"parameterType": "NUMBER_INTEGER"},
        "name": {"parameterType": "STRING", "defaultValue": "x"},
    }
    with pytest.raises(RefusedError, match=words):
        run(parameters, root, a=make_task())


def change_task(**fields):
    return lambda spec: spec["root"]["dag"]["tasks"]["a"].update(fields)


def change_container(**fields):
    return lambda spec: spec["deploymentSpec"]["executors"]["exec-a"]["container"].update(fields)


def change_executor(**fields):
    return lambda spec: spec["deploymentSpec"]["executors"].update({"exec-a": fields})


def change_output(**fields):
    return lambda spec: spec["components"]["comp-a"]["outputDefinitions"]["artifacts"].update(
        data={"artifactType": fields}
    )


def change_input(source, where="parameters"):
    return change_task(inputs={where: {"x": source}})


def rename_task(name):
    def rename(spec):
        tasks = spec["root"]["dag"]["tasks"]
        tasks[name] = tasks.pop("a") | {"taskInfo": {"name": name}}

    return rename


REFUSED = {
    "old schema": (lambda spec: spec.update(schemaVersion="2.0.0"), "KFP only supports schema version 2.1.0"),
    "unknown field": (lambda spec: spec.update(runtimeConfig={}), "invalid v2 pipeline spec"),
    "no name": (lambda spec: spec["pipelineInfo"].clear(), "name is empty"),
    "bad name": (lambda spec: spec["pipelineInfo"].update(name="Pets_1"), "lowercase alphanumeric"),
    "no root": (lambda spec: spec.pop("root"), "root component is empty"),
    "no tasks": (lambda spec: spec["root"]["dag"]["tasks"].clear(), "one or more"),
    "component named root": (lambda spec: spec["components"].update(root={}), "reserved"),
    "missing component": (change_task(componentRef={"name": "other"}), 'cannot find component ref name="other"'),
    "no component": (change_task(componentRef={}), "component ref name is empty"),
    "missing executor": (lambda spec: spec["deploymentSpec"]["executors"].clear(), "not found in deployment config"),
    "resolver": (change_executor(resolver={}), "non-container and non-importer executor not implemented"),
    "importer": (change_executor(importer={}), "not modelled: .* importer"),
    "nested DAG": (
        lambda spec: spec["components"].update({"comp-a": {"dag": {"tasks": {}}}}),
        "not modelled: task 'a' is a DAG",
    ),
    "hook": (change_container(lifecycle={"preCacheCheck": {"command": ["python"]}}), "lifecycle hook"),
    "number in the command": (change_container(command=["python", 3]), "invalid deploymentSpec"),
    "no command": (change_container(command=[], args=[]), "command and arguments are empty"),
    "unknown field of a container": (change_container(entrypoint="x"), "invalid deploymentSpec"),
    "instance schema": (change_output(instanceSchema="title: tfx.Model"), "only instance_schema"),
    "no artifact type": (change_output(), "only no type"),
    "other title": (change_output(schemaTitle="tfx.Model"), "the type tfx.Model, expected one of system"),
    "missing dependency": (change_task(dependentTasks=["other"]), 'unknown producer task "other"'),
    "missing producer": (
        change_input({"taskOutputParameter": {"producerTask": "other", "outputParameterKey": "p"}}),
        'unknown producer task "other"',
    ),
    "missing output": (
        change_input({"taskOutputArtifact": {"producerTask": "b", "outputArtifactKey": "q"}}, "artifacts"),
        'cannot find output artifact key "q" in producer task "b"',
    ),
    "missing root parameter": (change_input({"componentInputParameter": "y"}), "parent DAG does not have input"),
    "root artifact": (change_input({"componentInputArtifact": "y"}, "artifacts"), "parent DAG does not have input"),
    "runtime parameter": (
        change_input({"runtimeValue": {"runtimeParameter": "y"}}),
        "spec of type runtime_parameter not implemented",
    ),
    "selector": (
        change_input({"componentInputParameter": "y", "parameterExpressionSelector": "x"}),
        "not modelled: parameterExpressionSelector",
    ),
    "itself": (change_task(dependentTasks=["a"]), "a cycle in"),
    "cycle": (
        lambda spec: [spec["root"]["dag"]["tasks"][one].update(dependentTasks=[other]) for one, other in ("ab", "ba")],
        "a cycle in",
    ),
    "task name": (rename_task("a_1"), "name must consist of alpha-numeric"),
    "task name with a digit first": (rename_task("1a"), "must start with"),
    "driver's name": (rename_task("b-driver"), "not unique"),
    "another task info": (change_task(taskInfo={"name": "other"}), "task spec is required"),
    "loop": (
        change_task(parameterIterator={"items": {"raw": "[1]"}, "itemInput": "x"}),
        "not modelled: parameter_iterator",
    ),
    "exit task": (
        change_task(triggerPolicy={"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}),
        "not modelled: task 'a' is an exit task",
    ),
    "untyped parameter": (
        lambda spec: spec["components"]["comp-a"]["inputDefinitions"]["parameters"].update(x={"type": "STRING"}),
        "parameter x of component comp-a has unspecified type",
    ),
    "parameter without a value": (
        lambda spec: spec["components"]["comp-a"]["inputDefinitions"]["parameters"].update(
            x={"parameterType": "STRING"}
        ),
        "neither value nor default value",
    ),
    "default that the driver does not use": (
        lambda spec: spec["components"]["comp-a"]["inputDefinitions"]["parameters"].update(
            x={"parameterType": "STRING", "defaultValue": "y"}
        ),
        "is not optional",
    ),
    "one container for two": (
        lambda spec: spec["deploymentSpec"]["executors"].update(
            {"exec-a": spec["deploymentSpec"]["executors"]["exec-b"]}
        ),
        "have the same container and different inputs or outputs",
    ),
}


@pytest.mark.parametrize(("change", "words"), REFUSED.values(), ids=REFUSED)
def test_spec_is_refused_for(backend, change, words):
    spec = make_spec(a=make_task(), b=make_task("'b'", outputs=["data"], output_parameters={"p": "STRING"}))
    change(spec)
    with pytest.raises(RefusedError, match=words):
        backend.run(spec, {})


def test_refused_spec_starts_no_task(backend, tmp_path):
    marker = tmp_path / "marker"
    spec = make_spec(a=make_task(f"open({str(marker)!r}, 'w')"), b=make_task("'b'"))
    spec["deploymentSpec"]["executors"]["exec-b"] = {"resolver": {}}
    with pytest.raises(RefusedError):
        backend.run(spec, {})
    assert not marker.exists()


def test_spec_is_left_as_it_was(backend):
    spec = make_spec(a=make_task(**CACHED))
    before = copy.deepcopy(spec)
    backend.run(spec, {})
    assert spec == before


def test_spec_of_the_sdk_runs(backend, tmp_path):
    """What kfp's own compiler makes of container components."""
    import yaml
    from kfp import compiler, dsl

    @dsl.container_component
    def make(text: str, data: dsl.Output[dsl.Dataset]):
        code = "import sys; open(sys.argv[1], 'w').write(sys.argv[2])"
        return dsl.ContainerSpec("image", ["python", "-c", code], [data.path, text])

    @dsl.container_component
    def show(data: dsl.Input[dsl.Dataset], times: int = 2):
        code = "import sys; print(open(sys.argv[1]).read() * int(sys.argv[2]))"
        return dsl.ContainerSpec("image", ["python", "-c", code], [data.path, times])

    @dsl.pipeline(name="sdk")
    def pipeline(text: str, times: int = 3):
        show(data=make(text=text).outputs["data"], times=times)

    compiler.Compiler().compile(pipeline, str(tmp_path / "spec.yaml"))
    spec = yaml.safe_load((tmp_path / "spec.yaml").read_text())
    assert backend.run(spec, {"text": "cat"}).tasks["show"].log == "catcatcat\n"
