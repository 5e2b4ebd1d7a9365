"""Digests the code of each component, so that a change of code runs the component again.

TFX's cache compares execution properties and the numbers of input artifacts. It hashes the name of a function, not its
code. So each component has a property with a digest of the files that it runs on (`import_closure.py`) and of the
versions of the libraries that these files import. A component that runs again writes new artifacts, so the components
behind it run again, too.
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
# First module of each component. TFX's components have their libraries, and the modules that TFX imports by name.
COMPONENTS = {
    "ExampleGen": ("components.example_gen.component",),
    "RetrainingGate": ("components.gates.retraining",),
    "SchemaGen": ("components.schema_gen",),
    "StatisticsGen": ("components.statistics_gen",),
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
_DECODING = ("components.example_gen.decode_trial",)
# Distributions whose name differs from that of their package.
_DISTRIBUTIONS = {
    "sklearn": "scikit-learn",
    "absl": "absl-py",
    "google": "protobuf",
    "grpc": "grpcio",
    "tensorflow_serving": "tensorflow-serving-api",
}


@dataclasses.dataclass(frozen=True)
class CodeDigests:
    """SHA-256 digests, hex, of code and of the versions of the libraries that it imports.

    Attributes:
        components: code that each component runs on, by component.
        decoding: code that measures the size and brightness of an image, or refuses it; the key of the decode cache.
            The order of the numbers in a row is not in it: see `decode_cache.py`.
        model: components that make a model: ExampleGen, SchemaGen, Transform, Embedder, Trainer.
        verdict: the components of `model` and the Evaluator, which decides whether a model is refused. The
            ServingValidator is not in it: a change of a model server validates a model again, and trains no other.
        workers: components that run on Beam's workers.
    """

    components: dict[str, str]
    decoding: str
    model: str
    verdict: str
    workers: str


def read_code_digests(root: pathlib.Path = ROOT) -> CodeDigests:
    """Digests the code below a folder; takes 0.3 s at the first call of a process."""
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
