"""Digests the code of each component: a change runs again the components that run on it, and those behind them.

TFX's cache compares execution properties and the numbers of input artifacts. It hashes the name of a function, not its
code. So each component has a property with a digest of the files that it runs on (`import_closure.py`) and of the
versions of the libraries that these import. A component that runs again writes new artifacts, so those behind it do.
"""

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import pathlib
from collections.abc import Iterable

from pipeline.import_closure import Project

ROOT = pathlib.Path(__file__).parents[1]
# What each component runs first. TFX's own are named by their libraries; what they are told in strings stands beside.
COMPONENTS = {
    "ExampleGen": ("components.example_gen.component",),
    "RetrainingGate": ("components.gates.retraining",),
    "SchemaGen": ("components.schema_gen",),
    "StatisticsGen": ("tfx", "tfx_bsl", "tensorflow_data_validation", "apache_beam"),
    "ExampleValidator": ("tfx", "tensorflow_data_validation"),
    "DataGate": ("components.gates.data",),
    "Transform": ("tfx", "tfx_bsl", "tensorflow_transform", "apache_beam", "components.transform.preprocessing"),
    "Embedder": ("components.embedder.component",),
    "DriftGate": ("components.gates.data",),
    "Trainer": ("components.trainer.component",),
    "Evaluator": ("components.evaluator.component",),
    "ServingValidator": ("components.serving_validator.component",),
    "Pusher": ("components.pusher.component",),
}
_MODEL = ("ExampleGen", "SchemaGen", "Transform", "Embedder", "Trainer")
_VERDICT = (*_MODEL, "Evaluator")
_BEAM = ("ExampleGen", "StatisticsGen", "Transform", "Embedder", "Evaluator")
_DECODING = ("components.example_gen.decode_trial", "components.images.orientation")
# Distributions that have another name than the package which is imported.
_DISTRIBUTIONS = {
    "PIL": "pillow",
    "absl": "absl-py",
    "google": "protobuf",
    "grpc": "grpcio",
    "tensorflow_serving": "tensorflow-serving-api",
}


@dataclasses.dataclass(frozen=True)
class CodeDigests:
    """SHA-256 digests, hex, of code and of the versions of the libraries that it imports.

    Attributes:
        components: by the name of a component, of all that it runs on.
        decoding: of the code that tells the size and the brightness of an image, or refuses it: the key of the decode
            cache. The order of a row's numbers is not in it: see `decode_cache.py`.
        model: of the components that make a model: which images it is trained on, their features, the training. Another
            gate, Evaluator or Pusher, or other statistics, make no other model.
        verdict: of those and of the Evaluator, whose code decides, as thresholds do, whether a model is refused. The
            ServingValidator is left out, with the model server and its clients: a change of these tries the model
            anew, and no RetrainingGate calls for a training.
        workers: of the components that run on Beam's workers.
    """

    components: dict[str, str]
    decoding: str
    model: str
    verdict: str
    workers: str


def read_code_digests(root: pathlib.Path = ROOT) -> CodeDigests:
    """Digests the code below a folder; takes 0.3 s for the first time in a process."""
    project = Project(root)

    def digest(*components: str) -> str:
        return _digest_modules(project, (module for name in components for module in COMPONENTS[name]))

    return CodeDigests(
        components={name: digest(name) for name in COMPONENTS},
        decoding=_digest_modules(project, _DECODING),
        model=digest(*_MODEL),
        verdict=digest(*_VERDICT),
        workers=digest(*_BEAM),
    )


@functools.cache
def find_version(library: str) -> str:
    """Returns the version of the library that a package belongs to; "" if it is not installed."""
    try:
        return importlib.metadata.version(_DISTRIBUTIONS.get(library, library))
    except importlib.metadata.PackageNotFoundError:
        return ""


def _digest_modules(project: Project, modules: Iterable[str]) -> str:
    closure = project.find_closure(modules)
    versions = {library: find_version(library) for library in closure.libraries}
    return hashlib.sha256(json.dumps([closure.files, versions], sort_keys=True).encode()).hexdigest()
