"""The artifact types that TFX does not have."""

from tfx.types.artifact import Artifact
from tfx.types.system_artifacts import Dataset, Statistics


class IngestReport(Artifact):
    """What ExampleGen found: `ingest.json` (counts, salt, window), `quarantine.jsonl` and `images.u64`."""

    TYPE_NAME = "graft.IngestReport"
    TYPE_ANNOTATION = Dataset


class DataVerdict(Artifact):
    """What the gate says of the data: `gate_verdict.json`, with the warnings."""

    TYPE_NAME = "graft.DataVerdict"
    TYPE_ANNOTATION = Statistics


class RunDecision(Artifact):
    """Whether a run goes on to train: `decision.json`, and the property `train`."""

    TYPE_NAME = "graft.RunDecision"
    TYPE_ANNOTATION = Statistics
