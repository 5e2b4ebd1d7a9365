"""Artifact types that TFX does not define."""

from tfx.types.artifact import Artifact
from tfx.types.system_artifacts import Dataset, Statistics


class IngestReport(Artifact):
    """Report of ExampleGen: `ingest.json` (counts, salt, window), `quarantine.jsonl` and `images.u64`."""

    TYPE_NAME = "graft.IngestReport"
    TYPE_ANNOTATION = Dataset


class DataVerdict(Artifact):
    """Verdict of the DataGate on the data: `gate_verdict.json`, with the warnings."""

    TYPE_NAME = "graft.DataVerdict"
    TYPE_ANNOTATION = Statistics


class RunDecision(Artifact):
    """Decision of the RetrainingGate to train or to stop: `decision.json`, and the property `train`."""

    TYPE_NAME = "graft.RunDecision"
    TYPE_ANNOTATION = Statistics
