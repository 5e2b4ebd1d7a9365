"""The strict executor refuses outputs that the launcher refuses, or that Kubeflow's page would not show."""

import json
import math

import pytest
from kfp.pipeline_spec import pipeline_spec_pb2
from strict_executor import StrictBackend
from strict_page import PageError, check_artifact, describe_page
from test_strict_executor import make_spec, make_task

POINTS = [{"confidenceThreshold": t, "falsePositiveRate": f, "recall": r} for t, f, r in ((2, 0, 0), (0.5, 1, 1))]
MATRIX = {"annotationSpecs": [{"displayName": "a"}, {"displayName": "b"}], "rows": [{"row": [3, 1]}, {"row": [0, 4]}]}
SHOWN = {
    "metrics": ("system.Metrics", {"accuracy": 0.875}),
    "classification": ("system.ClassificationMetrics", {"confusionMatrix": MATRIX, "confidenceMetrics": POINTS}),
    "page": ("system.HTML", {"display_name": "report"}),
    "summary": ("system.Markdown", {}),
}
FILES = {"page": "report.html", "summary": "summary.md"}


def change(key, name, value, to=None):
    """Returns SHOWN with one property changed."""
    title, metadata = (to or SHOWN)[key]
    return {**(to or SHOWN), key: (title, {**metadata, name: value})}


def run_page(folder, outputs, files=FILES):
    """Runs a task with these outputs in a bucket; `files` has those that are a file in their folder."""
    code = f"""
outputs_of_page, files = json.loads({json.dumps(outputs)!r}), {files!r}
root, written = os.environ["GRAFT_LAUNCHER_ROOT"], {{}}
for key, (title, metadata) in outputs_of_page.items():
    place = outputs["artifacts"][key]["artifacts"][0]["uri"]
    local = pathlib.Path(root, "minio", place.removeprefix("minio://"))
    local.mkdir(parents=True)
    if key in files:
        (local / files[key]).write_text("# Good" if key == "summary" else "<p>Good")
        place += "/" + files[key]
    written[key] = {{"artifacts": [{{"uri": place, "metadata": metadata}}]}}
write(artifacts=written)
"""
    task = make_task(code, outputs=outputs)
    for key, (title, _) in outputs.items():
        definition = task["component"]["outputDefinitions"]["artifacts"][key]
        definition["artifactType"] = {"schemaTitle": title, "schemaVersion": "0.0.1"}
    backend = StrictBackend(folder, bucket=True)
    return backend, backend.run(make_spec(a=task), {}, lambda line: None)


def test_page_shows_each_output_and_only_the_file_is_uploaded(tmp_path):
    backend, result = run_page(tmp_path, SHOWN)
    assert result.state == "SUCCEEDED", result.tasks["a"].log
    outputs = result.tasks["a"].outputs
    assert outputs["page"]["uri"].endswith("/page/report.html")

    titles = {key: title for key, (title, _) in SHOWN.items()}
    assert describe_page(outputs, titles, backend.read) == [
        "ROC Curve: classification, 2 points",
        "  at 2.0000: false positives 0.000, recall 0.000",
        "  at 0.5000: false positives 1.000, recall 1.000",
        "Confusion Matrix: classification (rows True label, columns Predicted label: a, b)",
        "  a: [3, 1]",
        "  b: [0, 4]",
        "Scalar Metrics: metrics",
        "  accuracy = 0.875",
        "Static HTML: report.html, 7 characters",
        "Static Markdown: summary.md, 6 characters",
        "  | # Good",
    ]


def test_task_fails_with_the_reason_of_the_page(tmp_path):
    _, result = run_page(tmp_path, SHOWN, {"summary": "summary.md"})
    assert result.state == "FAILED"
    assert "failed to execute component: page: the URI minio://" in result.tasks["a"].log


REFUSED = {
    "list among the metrics": (change("metrics", "days", [1, 2]), 'metric value "days" must be a number, got list'),
    "null among the metrics": (change("metrics", "days", None), 'metric value "days" must be a number, got NoneType'),
    "version of TFX": (change("metrics", "tfx_version", "1.16.0"), 'metric value "tfx_version" must be a number'),
    "name among the metrics": (change("metrics", "display_name", "x"), 'metric value "display_name" must be'),
    "NaN among the metrics": (change("metrics", "loss", math.nan), "metrics: loss is nan, which has no form in JSON"),
    "oblong matrix": (
        change("classification", "confusionMatrix", {**MATRIX, "rows": [{"row": [3, 1, 0]}, {"row": [0, 4, 0]}]}),
        "has different length of columns from rows",
    ),
    "matrix with a row too many": (
        change("classification", "confusionMatrix", {**MATRIX, "rows": [*MATRIX["rows"], {"row": [0, 0]}]}),
        "annotationSpecs has different length 2 than rows length 3",
    ),
    "matrix without names": (
        change("classification", "confusionMatrix", {"rows": MATRIX["rows"]}),
        "must contain annotationSpecs and rows",
    ),
    "infinite threshold": (
        change("classification", "confidenceMetrics", [{**POINTS[0], "confidenceThreshold": math.inf}]),
        "confidenceMetrics is inf, which has no form in JSON",
    ),
    "point without a rate": (
        change("classification", "confidenceMetrics", [{"confidenceThreshold": 1, "recall": 1}]),
        "expected numbers confidenceThreshold",
    ),
    "curve that turns back": (change("classification", "confidenceMetrics", POINTS[::-1]), "falsePositiveRate falls"),
    "empty name": (change("page", "display_name", ""), "page: display_name is empty"),
    "neither matrix nor curve": (
        {**SHOWN, "classification": ("system.ClassificationMetrics", {"classes": 2})},
        "neither confusionMatrix nor confidenceMetrics",
    ),
}


def check(outputs, folder):
    """Checks artifacts without a task; the files of both pages are in the folder."""
    for key, (title, metadata) in outputs.items():
        artifact = pipeline_spec_pb2.RuntimeArtifact(uri=f"minio://b/{key}")
        artifact.type.schema_title = title
        artifact.metadata.update(metadata)
        check_artifact(key, artifact, folder / FILES.get(key, key))


@pytest.fixture
def folder(tmp_path):
    for name in FILES.values():
        (tmp_path / name).write_text("# Good")
    return tmp_path


def test_sound_outputs_pass(folder):
    check(SHOWN, folder)


@pytest.mark.parametrize(("outputs", "words"), REFUSED.values(), ids=REFUSED)
def test_page_refuses(folder, outputs, words):
    with pytest.raises(PageError, match=words):
        check(outputs, folder)


@pytest.mark.parametrize("key", FILES)
def test_page_refuses_a_folder_in_the_place_of_a_file(folder, key):
    (folder / FILES[key]).unlink()
    (folder / FILES[key]).mkdir()
    with pytest.raises(PageError, match=f"{key}: the URI minio://b/{key} is no object, but a folder"):
        check(SHOWN, folder)
