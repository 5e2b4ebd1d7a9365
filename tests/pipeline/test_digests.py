"""The components that a change of the code runs again."""

import dataclasses
import importlib.metadata

import pytest
from edited_sources import copy_sources, edit, list_sources, reword

from pipeline import code_digests
from pipeline.chain import Paths, create_pipeline
from pipeline.code_digests import COMPONENTS, read_code_digests
from pipeline.config.config import Config
from pipeline.parameters import make_parameters
from pipeline.resolve import Resolved, digest_server

EMBEDDED = {"Embedder", "Trainer"}
# Those whose digest changes with a file; what lies behind them runs again as well, for it gets other artifacts.
RUN_ON = {
    "components/example_gen/component.py": {"ExampleGen"},
    "components/example_gen/splits.py": {"ExampleGen"},
    "components/gates/retraining.py": {"RetrainingGate"},
    "components/gates/unpushed.py": {"RetrainingGate", "Pusher"},
    "components/gates/data.py": {"DataGate", "DriftGate"},
    "components/schema_gen.py": {"SchemaGen"},
    "components/statistics_gen.py": {"StatisticsGen"},
    "schema/schema.pbtxt": {"SchemaGen"},
    "components/transform/preprocessing.py": {"Transform", *EMBEDDED},
    "components/transform/pixels.py": {"Trainer"},
    "components/network/resnet.py": EMBEDDED,
    "components/network/folded.py": EMBEDDED,
    "components/network/padded.py": EMBEDDED,
    "components/devices.py": EMBEDDED,
    "components/network/served.py": {"Trainer"},
    "components/embedder/component.py": {"Embedder"},
    "components/embedder/worker.py": {"Embedder"},
    "components/embedder/backbone.py": EMBEDDED,
    "components/embedder/arithmetic.py": EMBEDDED,
    "components/trainer/component.py": {"Trainer"},
    "components/trainer/training.py": {"Trainer"},
    "components/trainer/phase.py": {"Trainer"},
    "components/trainer/scoring.py": {"Trainer"},
    "components/trainer/calibration.py": {"Trainer"},
    "components/probabilities.py": {"Trainer", "Evaluator"},
    "serving/export/calibration.py": {"Trainer", "Evaluator", "ServingValidator", "Pusher"},
    "serving/export/network.py": {"Trainer", "Evaluator", "ServingValidator", "Pusher"},
    "components/trainer/optimizer.py": {"Trainer"},
    "components/records/predictions.py": {"Trainer", "Evaluator", "Pusher"},
    "components/records/image_list.py": {"ExampleGen", "Pusher"},
    "components/evaluator/slices.py": {"Pusher"},
    "components/proportions.py": {"RetrainingGate", "DataGate", "DriftGate", "Evaluator", "Pusher"},
    "components/evaluator/component.py": {"Evaluator"},
    "components/evaluator/tfma_job.py": {"Evaluator"},
    "components/evaluator/verdict.py": {"Evaluator"},
    "components/evaluator/calibration.py": {"Evaluator"},
    "components/evaluator/extractors.py": {"Evaluator"},
    "components/evaluator/logistic_regression.py": {"Evaluator"},
    "components/evaluator/kept_predictions.py": {"Evaluator"},
    "components/serving_validator/component.py": {"ServingValidator"},
    "serving/client/launch.py": {"ServingValidator"},
    "serving/process/cores.py": {"ExampleGen", "StatisticsGen", *EMBEDDED, "Evaluator", "ServingValidator"},
    "serving/process/end_with_parent.py": {"ServingValidator"},
    "serving/process/muting.py": {"ServingValidator"},
    "serving/server/__main__.py": {"ServingValidator"},
    "serving/server/rest.py": {"ServingValidator"},
    "serving/export/warmup_requests.py": {"Trainer"},
    "components/pusher/component.py": {"Pusher"},
    "components/pusher/push.py": {"Pusher"},
    "components/pusher/card.py": {"Pusher"},
    "components/pusher/card_template.md": {"Pusher"},
}
MODEL = {"ExampleGen", "SchemaGen", "Transform", *EMBEDDED}


@pytest.fixture
def sources(tmp_path):
    """A copy of Graft's sources."""
    return copy_sources(tmp_path)


@pytest.fixture(scope="module")
def unchanged():
    """The digests of Graft as it is."""
    return read_code_digests()


def find_changed(before, after):
    return {name for name in COMPONENTS if before.components[name] != after.components[name]}


@pytest.fixture(scope="module")
def edited(tmp_path_factory):
    """Returns the digests of a copy with one more line, by edited file."""
    sources = copy_sources(tmp_path_factory.mktemp("edited"))
    digests = {}
    for path in RUN_ON:
        content = (sources / path).read_bytes()
        edit(sources / path)
        digests[path] = read_code_digests(sources)
        (sources / path).write_bytes(content)
    return digests


def test_a_line_of_code_changes_the_digests_of_what_runs_on_it(edited, unchanged):
    """The table has each component's own code, and code that several components share."""
    assert {path: find_changed(unchanged, digests) for path, digests in edited.items()} == RUN_ON


def test_a_line_of_code_makes_another_model_where_it_is_made_or_judged(edited, unchanged):
    """The key of a request and the RetrainingGate go by these: no other model comes of another server or gate."""
    made = {path for path, digests in edited.items() if digests.model != unchanged.model}
    judged = {path for path, digests in edited.items() if digests.verdict != unchanged.verdict}
    assert made == {path for path, components in RUN_ON.items() if components & MODEL}
    assert judged == {path for path, components in RUN_ON.items() if components & {*MODEL, "Evaluator"}}


def test_only_what_decodes_decodes_again(sources, unchanged):
    """Not another way to list files, to draw splits or to write examples."""
    for path in ("layout", "splits", "component", "reading"):
        edit(sources / f"components/example_gen/{path}.py")
    assert read_code_digests(sources).decoding == unchanged.decoding
    seen = {unchanged.decoding}
    for path in ("example_gen/decode_trial", "images/jpeg_header", "images/exif"):
        edit(sources / f"components/{path}.py")
        seen.add(read_code_digests(sources).decoding)
    assert len(seen) == 4


def test_other_words_in_all_sources_change_nothing(sources, unchanged):
    """Each docstring of each file, and comments."""
    for path in list_sources(sources):
        reword(path)
    assert len(list_sources(sources)) > 130
    assert read_code_digests(sources) == unchanged


def test_another_version_of_a_library_runs_what_uses_it(sources, unchanged, monkeypatch):
    """And TFX's own components, of which there are no sources here."""
    real = importlib.metadata.version

    def changed_by(library):
        code_digests.find_version.cache_clear()
        monkeypatch.setattr(importlib.metadata, "version", lambda name: "another" if name == library else real(name))
        return find_changed(unchanged, read_code_digests(sources))

    try:
        assert changed_by("tfx") == set(COMPONENTS)
        assert changed_by("tensorflow_data_validation") >= {"StatisticsGen", "ExampleValidator", "DataGate"}
        assert changed_by("tensorflow_model_analysis") == {"Evaluator"}
        assert changed_by("h5py") == EMBEDDED
    finally:
        code_digests.find_version.cache_clear()


@pytest.fixture
def pipeline(unchanged, tmp_path):
    """The chain of a local run; nothing is run."""
    config = Config(data="photos", out=str(tmp_path))
    resolved = Resolved(
        **dict.fromkeys((field.name for field in dataclasses.fields(Resolved)), "")
        | {"classes": ["cat", "dog"], "code_digests": unchanged.components, "server_digest": "tried with"}
    )
    paths = Paths(*[str(tmp_path)] * 3)
    return create_pipeline(config, make_parameters(config, "", str(tmp_path)), resolved, paths, [])


def test_each_component_gets_its_own_digest_and_no_other(pipeline, unchanged):
    """In whatever property. The Pusher records the server that a model was tried with, behind the ServingValidator."""
    expected = {name: {digest} for name, digest in unchanged.components.items()}
    expected |= {"ServingValidator": {"tried with"}, "Pusher": expected["Pusher"] | {"tried with"}}
    digests = set().union(*expected.values())
    found = {component.id: str(component.exec_properties) for component in pipeline.components}
    assert {name: {digest for digest in digests if digest in text} for name, text in found.items()} == expected


def test_tensorflow_serving_is_tried_when_it_comes_and_when_it_changes(tmp_path, monkeypatch):
    """What was served by the built-in server, or by another release, was not served by this one."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    seen = {digest_server("")}
    (tmp_path / "bin").mkdir()
    for release in ("2.16", "2.21.0"):
        (tmp_path / "bin/tensorflow_model_server").write_text(release)
        (tmp_path / "bin/tensorflow_model_server").chmod(0o755)
        seen.add(digest_server(""))
    assert len(seen) == 3
    assert digest_server("other code") not in seen
