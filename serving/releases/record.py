"""Record of a pushed version, `assets.extra/graft.json`: classes, configuration, data and metrics.

A damaged record does not affect serving: the version is served, listed, rolled back and promoted as before. No new
model is compared with the version, and `Version.problem` holds the reason.

Only fields that Graft reads are typed; other fields are kept unchanged. Each version of Graft adds keys to the
configuration, the metrics are the Evaluator's `EvaluationSummary`, which `serving/` must not import, and users may add
notes.
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import pydantic

from schema.text import list_some, printable
from serving.storage import side_files
from serving.storage.documents import Document, DocumentError, Fields

_SHOWN = 5  # classes that a line names
_OPEN = pydantic.ConfigDict(extra="allow")


def _refuse_null(value: Any) -> Any:
    """Refuses null as a salt.

    A record with a lost salt would count as one without, and the images would be split anew.
    """
    if value is None:
        raise ValueError("expected a whole number")
    return value


class RunConfig(Fields):
    """Configuration of a run, as far as later runs read it.

    Attributes:
        data: path or URI of the images; in the record of a version, only the last part of a local path.
        image_size: side of the network's input in pixels.
        max_megapixels: maximum megapixels of an image.
        trunk_gb: GB of disk for the features below the split layer; None for half of the free space.
    """

    model_config = _OPEN

    data: str = ""
    image_size: int | None = None
    max_megapixels: float | None = None
    trunk_gb: float | None = None


class RunResolved(Fields):
    """Values that a run resolved before it began, as far as later runs read them; see `pipeline.resolve.Resolved`.

    Attributes:
        fingerprint: digest of the names, sizes and times of the files.
        classes: class names in the order of the outputs.
        salt: requested salt of the split; "" to choose one.
        baseline: identity of the version that was live, or "none".
        best: identity of the best version that was kept besides the live one, or "none".
        served: state of the serving folder.
    """

    model_config = _OPEN

    fingerprint: str | None = None
    classes: list[str] | None = None
    salt: str | None = None
    baseline: str | None = None
    best: str | None = None
    served: str | None = None


class Metrics(Fields):
    """Metrics of the Evaluator, as far as Graft reads them; the other fields are those of `EvaluationSummary`.

    Attributes:
        accuracy: share of right answers on the test images, 0 to 1; None if unknown.
    """

    model_config = _OPEN

    accuracy: float | None = None


class VersionRecord(Document):
    """Origin and metrics of a pushed version.

    A default stands for an unknown value: a model of another tool has no record, and Graft up to 0.2.0 wrote fewer
    fields. This version of Graft writes every field.

    Attributes:
        classes: class names in the order of the outputs.
        config: configuration of the run.
        resolved: values that the run resolved before it began.
        request_key: digest of data, configuration, weights and code; two runs with the same key make the same model.
        settings_key: digest of what makes a model of images.
        run_id: id of the run; None if unknown.
        window_end: newest date folder that the run read; "" for none.
        salt: salt of the split; None if unknown.
        fingerprint: digest of the names, sizes and times of the files.
        counts: number of images by split and class.
        metrics: metrics of the Evaluator.
        canary: whether the version was pushed as the canary.
        model_digest: sha256 of the SavedModel's graph and variables.
        pushed_version: version number at the push; None if unknown.
        pushed_at: time of the push, in UTC and ISO 8601.
    """

    FILE: ClassVar[str] = "graft.json"
    model_config = _OPEN

    format: Literal[1] = 1
    classes: list[str] = pydantic.Field(default_factory=list)
    config: RunConfig = RunConfig()
    resolved: RunResolved = RunResolved()
    request_key: str = ""
    settings_key: str = ""
    run_id: str | None = None
    window_end: str = ""
    salt: Annotated[int | None, pydantic.BeforeValidator(_refuse_null)] = None
    fingerprint: str = ""
    counts: dict[str, dict[str, int]] = pydantic.Field(default_factory=dict)
    metrics: Metrics = Metrics()
    canary: bool = False
    model_digest: str = ""
    pushed_version: int | None = None
    pushed_at: str = ""


UNKNOWN = VersionRecord()


def describe_classes(classes: Sequence[str]) -> str:
    """Returns the end of a line that names a model: the first classes, after a semicolon; "" without classes."""
    return f"; classes: {list_some(classes, _SHOWN)}" if classes else ""


def read_record(path: str) -> tuple[VersionRecord, str]:
    """Reads the record of a version.

    Args:
        path: path of the file.
    Returns:
        The record and "". UNKNOWN and "" if the file is missing, because Graft did not push the model. UNKNOWN and the
        reason if the file is damaged.
    """
    try:
        value = side_files.read_json(path)
        return (UNKNOWN, "") if value is None else (_parse(value), "")
    except side_files.DamagedError as error:
        return UNKNOWN, str(error)
    except DocumentError as error:
        return UNKNOWN, printable(str(error))


def _parse(value: Any) -> VersionRecord:
    source = "not a record of Graft's"
    record = VersionRecord.parse(value, source)
    missing = [name for name in VersionRecord.model_fields if name not in value]
    if "format" in value and missing:
        raise DocumentError(f"{source}: field {missing[0]} is missing")
    return record
