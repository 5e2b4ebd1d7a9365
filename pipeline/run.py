"""One run: resolve, run the chain, say what came of it, and write that down."""

import dataclasses
import json
import pathlib
import shutil
from typing import Any

from rich.console import Console

from components.pusher import PUSHED, PUSHED_VERSION
from components.summary import FILE as SUMMARY_FILE
from pipeline import terminal
from pipeline.chain import create_pipeline
from pipeline.config import Config
from pipeline.local_runner import Finished, LocalRunner, make_run_id
from pipeline.resolve import resolve
from pipeline.workspace import open_workspace
from schema.errors import DataError


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Attributes:
        run_id: its folder below `runs/`.
        components: in the order in which they finished.
        ingest: `report.json` of ExampleGen.
        warnings: of the gate.
        evaluation: `summary.json` of the Evaluator.
        history: of the training: `kept` and `epochs`.
        pushed_version: the version this model is live as, or None.
        pushed_now: whether this run pushed it.
    """

    run_id: str
    components: list[Finished]
    ingest: dict[str, Any]
    warnings: list[str]
    evaluation: dict[str, Any]
    history: dict[str, Any]
    pushed_version: int | None
    pushed_now: bool


def run_pipeline(config: Config, console: Console) -> Outcome:
    """Runs the whole pipeline in a workspace.

    Args:
        config: what the user asked for.
        console: where to say what happens.
    Returns:
        What came of it; also in `runs/<run id>/manifest.json`.
    Raises:
        GraftError: for whatever the user can act on.
    """
    with open_workspace(config.out) as workspace:
        resolved = resolve(config, workspace)
        run_id = make_run_id()
        folder = workspace.runs / run_id
        folder.mkdir()
        progress = terminal.ComponentProgress(console)
        manifest: dict[str, Any] = {
            "run_id": run_id,
            "config": config.model_dump(mode="json"),
            "resolved": dataclasses.asdict(resolved),
        }
        try:
            pipeline = create_pipeline(config, resolved, workspace)
            with progress:
                LocalRunner(run_id, progress.start, progress.finish).run(pipeline)
            outcome = _collect(run_id, progress.finished, folder)
            manifest |= _describe(outcome)
        except DataError as error:
            manifest["failed"] = str(error)
            quarantine = _save_quarantine(progress.finished, folder)
            if not quarantine:
                raise
            raise DataError(f"{error}\nThe whole list of files left out: {quarantine}") from error
        except BaseException as error:
            manifest["failed"] = repr(error)
            raise
        finally:
            manifest["seconds"] = {c.name: round(c.seconds, 2) for c in progress.finished}
            _write_json(folder / "manifest.json", manifest)
        return outcome


def _collect(run_id: str, components: list[Finished], folder: pathlib.Path) -> Outcome:
    """Reads what the components wrote, and keeps a copy of what people look at."""
    by_name = {c.name: c for c in components}
    logs = pathlib.Path(by_name["Trainer"].outputs["model_run"].uri)
    shutil.copy(logs / "training_curves.png", folder)
    shutil.copy(logs / "history.json", folder)
    _save_quarantine(components, folder)
    pushed = by_name["Pusher"].outputs["pushed_model"].properties
    return Outcome(
        run_id=run_id,
        components=components,
        ingest=_read(by_name["ExampleGen"], "report", "report.json"),
        warnings=_read(by_name["DataGate"], "verdict", "verdict.json")["warnings"],
        evaluation=_read(by_name["Evaluator"], "evaluation", SUMMARY_FILE),
        history=json.loads((logs / "history.json").read_text()),
        pushed_version=int(pushed[PUSHED_VERSION]) if pushed.get(PUSHED) else None,
        pushed_now=bool(pushed.get(PUSHED)) and not by_name["Pusher"].cached,
    )


def _describe(outcome: Outcome) -> dict[str, Any]:
    return {
        "cached": [c.name for c in outcome.components if c.cached],
        "ingest": outcome.ingest,
        "warnings": outcome.warnings,
        "evaluation": outcome.evaluation,
        "kept": outcome.history["kept"],
        "pushed_version": outcome.pushed_version,
    }


def _save_quarantine(components: list[Finished], folder: pathlib.Path) -> pathlib.Path | None:
    """Copies the list of files left out beside the manifest; None if there is none."""
    for component in components:
        if component.name == "ExampleGen":
            source = pathlib.Path(component.outputs["report"].uri) / "quarantine.jsonl"
            return pathlib.Path(shutil.copy(source, folder)) if source.stat().st_size else None
    return None


def _read(component: Finished, key: str, name: str) -> dict[str, Any]:
    return dict(json.loads((pathlib.Path(component.outputs[key].uri) / name).read_text(encoding="utf-8")))


def _write_json(path: pathlib.Path, value: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")
    temporary.replace(path)
