"""docs/schemas describes the manifest, what commands print, and a version's record."""

import json
import pathlib

import pytest
from compared_runs import A, B, write_runs
from example_outcome import CONFIG, OUTCOME, RESULT

from pipeline.compare.compare import compare
from pipeline.compare.sides import find_side
from pipeline.local.report import render_json
from pipeline.runs.run_list import list_runs
from pipeline.workspace.manifest import FailedRun, SkippedRun
from pipeline.workspace.schemas import make_schemas, write_schemas
from serving.releases.record import Metrics, RunConfig, RunResolved, VersionRecord

FOLDER = pathlib.Path(__file__).parents[3] / "docs" / "schemas"
START = {"run_id": "20261124T000000", "config": RunConfig(data="photos"), "resolved": RunResolved(), "seconds": {}}
SKIPPED = SkippedRun(**START, ingest=RESULT.ingest, decision=RESULT.decision, live_version=7)
RECORD = VersionRecord(
    salt=3, metrics=Metrics(accuracy=0.9), classes=["a", "b"], config=RunConfig(data="photos", new=1)
)
DOCUMENTS = {
    "a run that trained": ("manifest", RESULT.render()),
    "a run whose artifacts are gone": ("manifest", RESULT.model_copy(update={"trained_model": None}).render()),
    "a run that was skipped": ("manifest", SKIPPED.render()),
    "a run that failed": ("manifest", FailedRun(**START, failed="dark").render()),
    "the output of a run that trained": ("run_output", render_json(OUTCOME, CONFIG)),
    "the output of a run that was skipped": ("run_output", render_json(SKIPPED, CONFIG)),
    "a record": ("version_record", RECORD.render()),
}


def test_schemas_are_those_of_the_source(tmp_path):
    """Made by: .venv/bin/python -m pipeline.workspace.schemas docs/schemas."""
    write_schemas(str(tmp_path))
    made = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    """Schema and text of each document, with what is printed of a workspace."""
    workspace = write_runs(tmp_path_factory.mktemp("runs"))
    comparison = compare(workspace, *(find_side(workspace, name, None) for name in (A, B)))
    printed = {
        "a comparison": ("comparison", comparison.model_dump_json()),
        "a list of runs": ("run_list", list_runs(workspace, 20).model_dump_json()),
    }
    return DOCUMENTS | printed


NAMES = [*DOCUMENTS, "a comparison", "a list of runs"]


@pytest.mark.parametrize("kind", NAMES)
def test_documents_have_the_fields_of_their_schema(documents, kind):
    """Of one of its kinds: all that are required, and no other."""
    name, text = documents[kind]
    schema, fields = make_schemas()[f"{name}.schema.json"], json.loads(text).keys()
    kinds = [schema["$defs"][found["$ref"].rpartition("/")[2]] for found in schema["anyOf"]]
    assert sum(set(kind["required"]) <= fields <= kind["properties"].keys() for kind in kinds) == 1


@pytest.mark.long  # the library takes 2 s to import
@pytest.mark.parametrize("name", NAMES)
def test_documents_are_as_their_schema_says(documents, name):
    """By another library; and without any of the required fields they are not."""
    kind, text = documents[name]
    jsonschema = pytest.importorskip("jsonschema")  # the older stack has it
    schema, document = make_schemas()[f"{kind}.schema.json"], json.loads(text)
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    validator.validate(document)
    names = [found["$ref"].rpartition("/")[2] for found in schema["anyOf"]]
    required = [schema["$defs"][name]["required"] for name in names]
    for name in max((r for r in required if set(r) <= document.keys()), key=len):
        assert not validator.is_valid({key: value for key, value in document.items() if key != name}), name


def test_every_field_is_described():
    """A reader of a schema has no source at hand."""
    kinds = {k: v for schema in make_schemas().values() for k, v in schema["$defs"].items()}
    for name in ("RunResult", "SkippedRun", "FailedRun", "VersionRecord", "IngestSummary", "EvaluationSummary"):
        fields = kinds[name]["properties"]
        assert [field for field in fields if "description" not in fields[field]] == ["format"], name
    for schema in ("comparison", "run_list"):
        for name, kind in make_schemas()[f"{schema}.schema.json"]["$defs"].items():
            fields = kind["properties"]
            assert {field for field in fields if "description" not in fields[field]} <= {"format"}, name
