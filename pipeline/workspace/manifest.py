"""Manifest of a run, `runs/<run id>/manifest.json`: configuration and result. `./graft run --json` prints it as well.

A later run reads any manifest as `RunManifest`: only id, configuration, resolved properties and seconds are always set.
A run writes one of `RunResult`, `SkippedRun` and `FailedRun`.
"""

import json
import re
from typing import Any, ClassVar, Literal

import pydantic

from components.records.computation import Computation
from components.records.decision import RetrainingDecision
from components.records.evaluation import EvaluationSummary
from components.records.ingest import IngestSummary
from components.records.push import SUPERSEDED, WITHDRAWN, Rejection
from components.records.serving_verdict import ServingVerdict
from serving.releases.record import RunConfig, RunResolved
from serving.storage.documents import Document, Fields

_RECORDS: dict[str, type[Document]] = {
    "ingest": IngestSummary,
    "decision": RetrainingDecision,
    "evaluation": EvaluationSummary,
    "serving": ServingVerdict,
}
# Beginning of `failed` after a signal; Beam raises what stopped a step as a RuntimeError with its name.
_INTERRUPTED = re.compile(r"""(?:RuntimeError\(["'])?(?:KeyboardInterrupt|SystemExit|StoppedError)\b""")
_RAISED = re.compile(r"""\w+\((["'])(.+?)\1.*\)""", re.DOTALL)  # an error in Python's notation
NOT_PRINTED = (  # what `--json` of a run lacks
    "config",
    "resolved",
    "seconds",
    "run_seconds",
    "libraries",
    "peak_mb",
    "computations",
    "card_waited",
)


def is_interruption(failed: str) -> bool:
    """Tells whether a run stopped by a signal, such as Ctrl-C, by the reason in its manifest."""
    return _INTERRUPTED.match(failed) is not None


def read_failure(failed: str) -> str:
    """Returns the first line of the reason in a manifest, without Python's notation of an error; "" for a signal."""
    if is_interruption(failed):
        return ""
    raised = _RAISED.fullmatch(failed)
    return (raised[2] if raised else failed).partition("\n")[0]


def is_cut_off(manifest: "RunManifest | None") -> bool:
    """Tells whether a run ended before it had its result: it failed, was interrupted, or left no manifest."""
    return manifest is None or manifest.failed is not None


class EmbeddingUse(Fields):
    """Images that Embedder and Trainer have computed in a run.

    Attributes:
        images: number of images in all splits.
        computed: number of images that went through the base in this run.
        trunk_computed: number of images whose features the Trainer computed, because the store had lost them.
        kinds: names of the feature keys in the store that the run uses.
        artifact: folder of the embeddings, relative to the workspace; None if it is gone.
        note: reason why split features are not kept, or "".
    """

    images: int
    computed: int
    trunk_computed: int
    kinds: list[str]
    artifact: str | None = None
    note: str


class RunManifest(Document):
    """Manifest of any run.

    Attributes:
        run_id: name of its folder below `runs/`.
        config: configuration of the run.
        resolved: digests, classes and the live version, found before the start: `pipeline.resolve.Resolved`.
        cached: components whose outputs TFX reused from an earlier run.
        ingest: counts of ExampleGen.
        warnings: warnings of the gates.
        embedding: images that went through the base, and the folder of the embeddings.
        evaluation: the Evaluator's summary.
        kept: phase of the training that was exported, "head" or "fine-tune".
        serving: the ServingValidator's verdict; None if the Evaluator had refused the model before.
        pushed_version: version of this model that is live or the canary; None if it is neither.
        pushed_now: whether this run pushed it.
        canary: whether that version is the canary.
        held_back: version that kept a good model from being pushed: the canary, withdrawn or newer; None if none did.
        removed_versions: old versions that the push removed.
        decision: decision of the RetrainingGate.
        live_version: live version after the run; None if there is none.
        trained_model: SavedModel of the run, pushed or not, relative to the workspace; None if it is gone.
        failed: reason why the run stopped.
        seconds: duration of each component that finished.
        run_seconds: time from the id of the run to its page, with what is loaded, resolved and written beside the
            components; None in a manifest of an earlier Graft, and for a run whose process was killed.
        libraries: versions of Graft, Python and libraries by name; None in a manifest of 0.2.
        peak_mb: peak resident memory of the run's process while each component ran, in MB of a million bytes, without
            child processes; None if the system does not tell.
        computations: device, precision, XLA and cores of each component that computed in this run; None in a manifest
            of an earlier Graft.
        card_waited: share of the time that the card waited while the Embedder and the Trainer ran, 0 to 1, from
            nvidia-smi; None without a card.
    """

    FILE: ClassVar[str] = "manifest.json"

    format: Literal[1] = 1
    run_id: str
    config: RunConfig
    resolved: RunResolved
    cached: list[str] | None = None
    ingest: IngestSummary | None = None
    warnings: list[str] | None = None
    embedding: EmbeddingUse | None = None
    evaluation: EvaluationSummary | None = None
    kept: str | None = None
    serving: ServingVerdict | None = None
    pushed_version: int | None = None
    pushed_now: bool | None = None
    canary: bool | None = None
    held_back: Rejection | None = None
    removed_versions: list[int] | None = None
    decision: RetrainingDecision | None = None
    live_version: int | None = None
    trained_model: str | None = None
    failed: str | None = None
    seconds: dict[str, float]
    run_seconds: float | None = None
    libraries: dict[str, str] | None = None
    peak_mb: dict[str, float] | None = None
    computations: dict[str, Computation] | None = None
    card_waited: dict[str, float] | None = None

    @pydantic.field_validator(*_RECORDS, mode="before")
    @classmethod
    def _upgrade_record(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        """Reads a nested record by its own format number, which may be older than the manifest's."""
        if not isinstance(value, dict):
            return value
        return _RECORDS[str(info.field_name)].parse(value, f"{cls.FILE}: {info.field_name}")

    @property
    def is_refused(self) -> bool:
        """True for a trained model that was not pushed: by the Evaluator, the ServingValidator or another version."""
        verdicts = [verdict for verdict in (self.evaluation, self.serving) if verdict]
        return bool(self.held_back) or not all(verdict.blessed for verdict in verdicts)

    def to_json(self) -> dict[str, Any]:
        """Returns the manifest without fields that are not set, and without paths of removed artifacts."""
        unset = type(self).model_fields.keys() - self.model_fields_set - {"format"}
        left_out: dict[str, Any] = dict.fromkeys(unset, True)
        if self.trained_model is None:
            left_out["trained_model"] = True
        if self.embedding and self.embedding.artifact is None:
            left_out["embedding"] = {"artifact"}
        return self.model_dump(mode="json", exclude=left_out)

    def render(self) -> str:
        """Returns the JSON text."""
        return json.dumps(self.to_json(), indent=1, ensure_ascii=False)

    def render_output(self, model: str | None, report: str) -> str:
        """Renders the output of `./graft run --json`.

        Args:
            model: path of the pushed version; None if the model is not pushed.
            report: path of the run's folder.
        """
        printed = {key: value for key, value in self.to_json().items() if key not in NOT_PRINTED}
        return json.dumps({"model": model, "report": report} | printed, ensure_ascii=False)


class SkippedRun(RunManifest):
    """Manifest of a run that ended before the training, by decision of the RetrainingGate."""

    ingest: IngestSummary
    decision: RetrainingDecision
    live_version: int | None
    run_seconds: float | None = None
    libraries: dict[str, str] | None = None
    peak_mb: dict[str, float] | None = None
    computations: dict[str, Computation] | None = None
    card_waited: dict[str, float] | None = None


class RunResult(RunManifest):
    """Manifest of a run that trained a model."""

    cached: list[str]
    ingest: IngestSummary
    warnings: list[str]
    embedding: EmbeddingUse
    evaluation: EvaluationSummary
    kept: str
    serving: ServingVerdict | None
    pushed_version: int | None
    pushed_now: bool
    canary: bool
    held_back: Rejection | None
    removed_versions: list[int]
    decision: RetrainingDecision
    live_version: int | None
    trained_model: str | None = None
    run_seconds: float | None = None
    libraries: dict[str, str] | None = None
    peak_mb: dict[str, float] | None = None
    computations: dict[str, Computation] | None = None
    card_waited: dict[str, float] | None = None

    @property
    def reasons(self) -> list[str]:
        """Reasons why no version was pushed, one sentence each."""
        if not self.held_back:
            return self.evaluation.failures + (self.serving.reasons if self.serving else [])
        version, state = self.held_back.version, self.held_back.state
        if state == SUPERSEDED:
            return [f"version {version} became live meanwhile, and this model was not compared with it; run again"]
        if state == WITHDRAWN:
            return [f"withdrawn before as version {version}; `releases promote` makes it live again"]
        return [f"the same model is the canary, version {version}; `releases promote` makes it live"]


class FailedRun(RunManifest):
    """Manifest of a run that stopped with an error."""

    failed: str
    run_seconds: float | None = None
    libraries: dict[str, str] | None = None
    peak_mb: dict[str, float] | None = None
    computations: dict[str, Computation] | None = None
