"""A copy of Graft is edited from run to run: the components that run on the edited file run again."""

import json
import shutil
import subprocess

import pytest
from edited_sources import ROOT, copy_sources, edit, list_sources, reword
from warm import start_warm_python

pytestmark = [pytest.mark.slow, pytest.mark.long]

FOLDERS = ("schema", "serving", "components", "pipeline", "kubeflow")
# What takes long to import; Graft's own modules are imported anew in each run.
LIBRARIES = [
    "tensorflow_data_validation",
    "tensorflow_model_analysis",
    "tensorflow_serving.apis",
    "tensorflow_transform.beam",
    "tfx.components",
    "tfx.orchestration.metadata",
]
SERVED = {"ServingValidator", "Pusher"}
# The RetrainingGate is told the digest of what makes a model and judges it.
JUDGED = SERVED | {"RetrainingGate", "Evaluator"}
TRAINED = JUDGED | {"Trainer"}
EMBEDDED = TRAINED | {"Embedder", "DriftGate"}
TRANSFORMED = EMBEDDED | {"Transform"}
CHECKED = TRANSFORMED | {"StatisticsGen", "ExampleValidator", "DataGate"}
RUN_AGAIN = {
    "components/example_gen/component.py": CHECKED | {"ExampleGen"},
    "components/gates/retraining.py": {"RetrainingGate", "Pusher"},
    "components/schema_gen.py": CHECKED | {"SchemaGen"},
    "components/gates/data.py": {"DataGate", "DriftGate"},
    "components/transform/preprocessing.py": TRANSFORMED,
    "components/embedder/component.py": EMBEDDED,
    "components/trainer/component.py": TRAINED,
    "components/evaluator/extractors.py": JUDGED,
    "components/serving_validator/component.py": SERVED,
    "serving/server/rest.py": SERVED,
    "components/pusher/component.py": {"Pusher"},
}
ALL = CHECKED | {"ExampleGen", "SchemaGen"}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Graft's sources, to be edited."""
    folder = copy_sources(tmp_path_factory.mktemp("copy"), FOLDERS)
    shutil.copy(ROOT / "__main__.py", folder)
    return folder


@pytest.fixture(scope="module")
def run(copy, small_digits, tmp_path_factory):
    """Runs the copy; returns the components that were executed."""
    out = tmp_path_factory.mktemp("workspace")
    command = ["run", "--data", str(small_digits), "--out", str(out), "--weights", "random", "--image-size", "32"]
    command += ["--head-epochs", "2", "--fine-tune-epochs", "0", "--min-accuracy", "0"]
    command += ["--force"]  # the RetrainingGate would end a run whose images and settings have made a model before

    with start_warm_python(tmp_path_factory.mktemp("warm"), root=copy, modules=LIBRARIES) as warm:

        def run_copy():
            done = subprocess.run(
                [warm.small_base, copy, *command], cwd=out, capture_output=True, text=True, timeout=600, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
            newest = max((out / "runs").iterdir())
            return ALL - set(json.loads((newest / "manifest.json").read_text())["cached"])

        assert run_copy() == ALL
        # The first model was compared with none; a model of other code is compared with the one that is live.
        edit(copy / "components/trainer/training.py")
        run_copy()
        yield run_copy


def test_nothing_runs_again_where_nothing_was_edited(run):
    """The digests are the same in another process."""
    assert run() == set()


@pytest.mark.parametrize("path", RUN_AGAIN)
def test_a_line_of_code_runs_its_component_again_and_those_behind_it(run, copy, path):
    """And no other."""
    edit(copy / path)
    assert run() == RUN_AGAIN[path]


def test_other_words_in_all_sources_run_nothing_again(run, copy):
    """Docstrings and comments."""
    for path in list_sources(copy):
        reword(path)
    assert run() == set()
