"""`assets.extra/graft.json`: what a pushed version was made of, and how well it did.

Whatever is wrong with the file, the version is served, listed, rolled back and promoted as before. It is compared with
nothing, and `Version.problem` says why.

Typed is what Graft reads of a record. The rest travels with it as it came: the configuration gets keys with every
version of Graft, the metrics are the Evaluator's `EvaluationSummary`, which nothing in `serving/` may import, and a
person may add notes.
"""

from typing import Annotated, Any, ClassVar, Literal

import pydantic

from schema.text import printable
from serving.storage import side_files
from serving.storage.documents import Document, DocumentError, Fields

_OPEN = pydantic.ConfigDict(extra="allow")


def _refuse_null(value: Any) -> Any:
    """Keeps a record whose salt was lost from passing for one that had none: the images would be dealt anew."""
    if value is None:
        raise ValueError("expected a whole number")
    return value


class RunConfig(Fields):
    """Configuration of a run: what later runs read of it.

    Attributes:
        data: path or URI of the images; in the record of a version, the last part of a path of the machine alone.
        image_size: side of the network's input in pixels.
        max_megapixels: bound above which an image is refused.
        trunk_gb: GB of disk for the features that fine-tuning starts from; None for half of what is free.
    """

    model_config = _OPEN

    data: str = ""
    image_size: int | None = None
    max_megapixels: float | None = None
    trunk_gb: float | None = None


class RunResolved(Fields):
    """Values that a run resolved before it began, see `pipeline.resolve.Resolved`: what later runs read of them.

    Attributes:
        fingerprint: digest of the names, sizes and times of the files.
        classes: in the order of the outputs.
        salt: of the split, as the run asked for it; "" to choose one.
        baseline: identity of the version that was live, or "none".
        served: state of the serving folder.
    """

    model_config = _OPEN

    fingerprint: str | None = None
    classes: list[str] | None = None
    salt: str | None = None
    baseline: str | None = None
    served: str | None = None


class Metrics(Fields):
    """The Evaluator's summary: what is listed of it. The rest is for people, as `EvaluationSummary` has it.

    Attributes:
        accuracy: share of right answers on the test images, 0 to 1; None if it is not known.
    """

    model_config = _OPEN

    accuracy: float | None = None


class VersionRecord(Document):
    """Origin and quality of a pushed version.

    The defaults stand for what is not known: a model of another tool has no record, and 0.2.0 and before wrote less.
    What this Graft writes has every field.

    Attributes:
        classes: in the order of the outputs.
        config: configuration of the run.
        resolved: what the run resolved before it began.
        request_key: digest of data, configuration, weights and code; two runs with the same key make the same model.
        settings_key: digest of what makes a model of images.
        run_id: of the run; None if it is not known.
        window_end: newest date folder that was read, or "".
        salt: of the split; None if it is not known.
        fingerprint: digest of the names, sizes and times of the files.
        counts: images by split and class.
        metrics: the Evaluator's summary.
        canary: whether the version was pushed as the canary.
        model_digest: sha256 of the SavedModel's graph and variables.
        pushed_version: number that the version was pushed as; None if it is not known.
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


def read_record(path: str) -> tuple[VersionRecord, str]:
    """Reads the record of a version.

    Args:
        path: of the file.
    Returns:
        The record and "". UNKNOWN where there is no file: Graft did not push that model. UNKNOWN and the reason, where
        there is a file that cannot be read.
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
