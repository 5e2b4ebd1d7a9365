"""`runs/<run id>/manifest.json`: what a run was asked for, and what came of it. `./graft run --json` prints it as well.

`RunManifest` is what a later run reads, of whatever became of the run: only id, configuration, what was resolved
and the seconds are always there.
`RunResult`, `SkippedRun` and `FailedRun` are what a run writes.
"""

import json
from typing import Any, ClassVar, Literal

import pydantic

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
NOT_PRINTED = ("config", "resolved", "seconds")  # of a manifest, in the output of a run


class EmbeddingUse(Fields):
    """Part of the Embedder, and of the Trainer, in a run.

    Attributes:
        images: number of images in all splits.
        computed: number of images that went through the base in this run.
        trunk_computed: number of images whose features the Trainer had to compute, for the store had lost them.
        kinds: names of the feature keys in the store that the run uses.
        artifact: folder of the embeddings, relative to the workspace; None if it is gone.
        note: why features are not kept, or "".
    """

    images: int
    computed: int
    trunk_computed: int
    kinds: list[str]
    artifact: str | None = None
    note: str


class RunManifest(Document):
    """Any run.

    Attributes:
        run_id: name of its folder below `runs/`.
        config: configuration of the run.
        resolved: what the run resolved before it began.
        cached: components whose outputs were those of an earlier run.
        ingest: counts of ExampleGen.
        warnings: of the gates.
        embedding: number of images embedded, number of them in this run, and where.
        evaluation: the Evaluator's summary.
        kept: phase of the training that was exported, "head" or "fine-tune".
        serving: the ServingValidator's verdict; None if the Evaluator had refused the model before.
        pushed_version: version that the model is live as, or the canary; None if it is neither.
        pushed_now: whether this run pushed it.
        canary: whether that version is the canary.
        held_back: version for which a good model was not pushed; None if there is none.
        removed_versions: old versions that the push removed.
        decision: of the RetrainingGate.
        live_version: version that is live behind the run; None if none is.
        trained_model: SavedModel of the run, pushed or not, relative to the workspace; None if it is gone.
        failed: why the run stopped.
        seconds: duration of each component that finished.
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

    @pydantic.field_validator(*_RECORDS, mode="before")
    @classmethod
    def _upgrade_record(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        """Reads a record inside by its own format: it may be older than that of the manifest."""
        if not isinstance(value, dict):
            return value
        return _RECORDS[str(info.field_name)].parse(value, f"{cls.FILE}: {info.field_name}")

    def to_json(self) -> dict[str, Any]:
        """Returns the manifest without the fields that such a run does not have, and without paths that are gone."""
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
        """Returns what `./graft run --json` prints.

        Args:
            model: path of the version that the model is live as; None if it is not pushed.
            report: path of the run's folder.
        """
        told = {key: value for key, value in self.to_json().items() if key not in NOT_PRINTED}
        return json.dumps({"model": model, "report": report} | told, ensure_ascii=False)


class SkippedRun(RunManifest):
    """A run that ended before training, for there was no need of it."""

    ingest: IngestSummary
    decision: RetrainingDecision
    live_version: int | None


class RunResult(RunManifest):
    """A run that trained a model."""

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

    @property
    def reasons(self) -> list[str]:
        """Sentences that say why no version was pushed."""
        if not self.held_back:
            return self.evaluation.failures + (self.serving.reasons if self.serving else [])
        version, state = self.held_back.version, self.held_back.state
        if state == SUPERSEDED:
            return [f"version {version} became live meanwhile, and this model was not compared with it; run again"]
        if state == WITHDRAWN:
            return [f"withdrawn before as version {version}; `releases promote` makes it live again"]
        return [f"the same model is the canary, version {version}; `releases promote` makes it live"]


class FailedRun(RunManifest):
    """A run that stopped."""

    failed: str
