"""The artifact types that TFX does not have."""

from tfx.types.artifact import Artifact
from tfx.types.system_artifacts import Dataset, Statistics


class IngestReport(Artifact):
    """What ExampleGen found: `report.json` (counts, salt, window) and `quarantine.jsonl`."""

    TYPE_NAME = "IngestReport"
    TYPE_ANNOTATION = Dataset


class DataVerdict(Artifact):
    """What the gate says of the data: `verdict.json`, with the warnings."""

    TYPE_NAME = "DataVerdict"
    TYPE_ANNOTATION = Statistics
