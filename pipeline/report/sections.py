"""Collects the contents of the page's parts on changes, training, components and configuration."""

import json
from typing import Any

from components.network.heads import describe_units
from pipeline.config.keys import all_keys
from pipeline.libraries import read_libraries
from pipeline.report import changes
from pipeline.report.changes import Change, write_value
from pipeline.report.charts import draw_curves
from pipeline.report.outcome import list_blanks
from pipeline.report.sources import RunFiles

_PHASES = {"head": "the head alone", "fine-tune": "the fine-tuned model"}
_MOST_CLASSES = 30  # limit of listed classes with different numbers of images


def describe_changes(files: RunFiles) -> dict[str, Any]:
    """Compares with the version that was live at the start of the run; `problem` is the reason for no comparison."""
    if files.manifest is None:
        return {"problem": "The manifest of the run is missing, so that nothing can be compared."}
    if files.live_number is None:
        return {"problem": "No version was live when the run began: there is nothing to compare with."}
    if files.live is None:
        return {"problem": f"Version {files.live_number} was live when the run began, and has been removed since."}
    record = files.live.record
    if files.live.problem or not record.run_id:
        return {"problem": f"Version {files.live_number} was live when the run began; its record cannot be read."}
    components, others = changes.compare_code(files.manifest.resolved, record.resolved)
    counts = changes.compare_counts(files.ingest.counts, record.counts) if files.ingest else []
    answers = files.answers
    return {
        "problem": "",
        "version": files.live_number,
        "record": record,
        "decision": files.decision,
        "counts": counts[:_MOST_CLASSES],
        "more_counts": max(0, len(counts) - _MOST_CLASSES),
        "settings": changes.compare_settings(files.manifest.config, record.config),
        "components": components,
        "others": others,
        "flips": changes.count_flips(answers) if answers else None,
    }


def describe_training(files: RunFiles) -> dict[str, Any] | None:
    """Returns the epochs, the curves and the kept epoch; None if nothing was trained."""
    history = files.history
    if history is None or not history.epochs:
        return None
    kept = next((row for row in history.epochs if row.best and row.phase == history.kept), None)
    return {
        "history": history,
        "kept": kept,
        "kept_phase": _PHASES.get(history.kept, history.kept),
        "heads": [(head, describe_units(head.units)) for head in history.tried_heads],
        "charts": [draw_curves(history, metric) for metric in ("accuracy", "loss")],
    }


def describe_components(files: RunFiles) -> list[dict[str, Any]]:
    """Returns name, state, seconds, share of the longest time, memory and device for each started component."""
    seconds = files.manifest.seconds if files.manifest else {}
    cached = set((files.manifest.cached if files.manifest else None) or [])
    states = {name: "reused" if name in cached else "run" for name in seconds}
    states |= {execution.name: execution.state for execution in files.executions}
    longest = max(seconds.values(), default=0) or 1
    peaks = (files.manifest.peak_mb if files.manifest else None) or {}
    computations = (files.manifest.computations if files.manifest else None) or {}
    return [
        {
            "name": name,
            "state": state,
            "seconds": seconds.get(name),
            "share": seconds.get(name, 0) / longest,
            "peak_mb": peaks.get(name),
            "computation": computations[name].text if name in computations else None,
        }
        for name, state in states.items()
    ]


def describe_card(files: RunFiles) -> dict[str, Any] | None:
    """Returns the text of the model card, and what a person must fill in; None if the run has no card."""
    return {"text": files.card, "blanks": list_blanks(files.card)} if files.card else None


def describe_settings(files: RunFiles) -> dict[str, list[Change]]:
    """Returns the keys of the configuration, divided into those that differ from their defaults and the others."""
    values = changes.flatten(files.manifest.config.model_dump()) if files.manifest else {}
    differs: list[Change] = []
    default: list[Change] = []
    for name, key in all_keys().items():
        if name in values:
            usual = json.loads(json.dumps(key.default, default=str))
            change = Change(name, write_value(name, usual), write_value(name, values[name]))
            (default if usual == values[name] else differs).append(change)
    unknown = [Change(name, "", write_value(name, values[name])) for name in values if name not in all_keys()]
    return {"differs": differs + unknown, "default": default}


def describe_identity(files: RunFiles) -> dict[str, list[tuple[str, str]]]:
    """Returns the versions of the libraries that write the page, and the digests of the run."""
    libraries = list(read_libraries().items())
    resolved = files.manifest.resolved.model_dump() if files.manifest else {}
    digests = [
        (key, str(value)) for key, value in resolved.items() if key.endswith(("digest", "key")) or key in _DIGESTS
    ]
    codes = resolved.get("code_digests") or {}
    return {"libraries": libraries, "digests": digests, "codes": [(name, str(code)) for name, code in codes.items()]}


_DIGESTS = ("fingerprint", "settings", "salt", "baseline")
