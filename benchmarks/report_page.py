"""Time, size and memory of a run's page with many images and classes.

The predictions and the manifest are made up. 400 images are photographs, or noise without --data, for the pictures.

Run: .venv/bin/python -m benchmarks.report_page [--images 1000 10000 100000] [--classes 100] [--data PHOTOS]
"""

import argparse
import hashlib
import json
import pathlib
import shutil
import tempfile
import time

import numpy as np

from benchmarks.graft_run import ROOT, measure
from benchmarks.photographs_folder import write_noise
from components.evaluator.answers import select, wilson_interval
from components.records.decision import RetrainingDecision
from components.records.evaluation import Baseline, ClassMetrics, EvaluationSummary
from components.records.history import Epoch, TrainingHistory
from components.records.image_figures import ExampleImage, ImageFigures
from components.records.image_list import IMAGES, ListedImage, write_image_list
from components.records.ingest import IngestSummary
from components.records.predictions import PREDICTIONS, Predictions
from components.records.quarantine import LeftOut, write_quarantine
from pipeline.config.config import Config
from pipeline.report.page import render
from pipeline.report.sources import gather
from pipeline.workspace.manifest import EmbeddingUse, RunResult
from pipeline.workspace.workspace import Workspace
from serving.releases.record import RunConfig, RunResolved

RUN = "20261127T000000-000Z-0000"
_PICTURES = 400  # images that are there; the paths of the others lead to the same files
_DAYS = 90
_LIMIT = 5_000_000  # bytes


def make_predictions(images: int, classes: int, files: list[pathlib.Path], data: pathlib.Path) -> Predictions:
    """Makes up predictions of test images that are right in four of five cases."""
    numbers = np.random.default_rng(0)
    names = [f"class {index:03d}" for index in range(classes)]
    truth = numbers.integers(0, classes, images)
    sharpness = numbers.uniform(1, 9, (2, images, 1))
    logits = numbers.normal(size=(2, images, classes)) + sharpness * np.eye(classes)[truth]
    rows = np.exp(logits)
    rows = (rows / rows.sum(axis=2, keepdims=True)).astype(np.float32)
    paths = [files[index % len(files)].relative_to(data).as_posix() for index in range(images)]
    digests = {path: hashlib.sha256((data / path).read_bytes()).hexdigest() for path in set(paths)}
    label = [names[index] for index in truth]
    digest = [digests[path] for path in paths]
    return Predictions(names, 6, names, ["test"] * images, digest, paths, label, rows[0], rows[1])


def make_evaluation(predictions: Predictions) -> EvaluationSummary:
    """Computes the summary of the predictions."""
    answers = select(predictions)
    size = len(answers.classes)
    cells = np.bincount(answers.truth * size + answers.answer, minlength=size * size)
    matrix = cells.reshape(size, size).tolist()
    right, images = int(answers.right.sum()), len(answers.path)
    metrics = {
        name: ClassMetrics(images=sum(row), precision=0.8, recall=0.8, auc=0.97, calibration=1.0)
        for name, row in zip(predictions.classes, matrix, strict=True)
    }
    share = float(answers.baseline_right.mean())
    baseline = Baseline(
        version=6, compared=True, classes=predictions.classes, images=images, accuracy=share, candidate_accuracy=None
    )
    return EvaluationSummary(
        images=images, accuracy=right / images, accuracy_interval=wilson_interval(right, images), min_accuracy=0.1,
        min_accuracy_reason="made up", blessed=True, failures=[], baseline=baseline, classes=metrics,
        confusion_matrix=matrix,
    )  # fmt: skip


def write_run(workspace: Workspace, data: pathlib.Path, images: int, classes: int) -> None:
    """Writes the folder of a run on made-up images."""
    folder = workspace.runs / RUN
    folder.mkdir(parents=True)
    files = sorted(path for path in data.rglob("*") if path.is_file())[:_PICTURES]
    predictions = make_predictions(images, classes, files, data)
    predictions.write(str(folder / PREDICTIONS))
    days = [f"2026-{8 + day // 30:02d}-{1 + day % 30:02d}" for day in range(_DAYS)]
    counts = {split: dict.fromkeys(predictions.classes, images // classes) for split in ("train", "val", "test")}
    examples = {
        name: [ExampleImage(path=predictions.path[(4 * index + k) % len(files)], digest="") for k in range(4)]
        for index, name in enumerate(predictions.classes)
    }
    ImageFigures(
        days={day: dict.fromkeys(predictions.classes, 10) for day in days}, width=[100.0] * 7, height=[80.0] * 7,
        bytes=[24000.0] * 7, brightness=[110.0] * 7, examples=examples,
    ).write(str(folder))  # fmt: skip
    numbers = np.random.default_rng(1)
    sides, levels = numbers.integers(100, 900, (images, 2)).tolist(), numbers.uniform(20, 230, images).tolist()
    named = zip(predictions.split, predictions.digest, predictions.path, predictions.label, strict=True)
    listed = (ListedImage(*names, *size, level) for names, size, level in zip(named, sides, levels, strict=True))
    write_image_list(str(folder / IMAGES), listed)
    reasons = ("empty file", "not a JPEG", "the same bytes as another file")
    left_out = (
        LeftOut(path=f"{k}.jpg", label=predictions.classes[0], reason=reasons[k % 3], broken=True) for k in range(1000)
    )
    write_quarantine(str(folder), left_out)
    epochs = [
        Epoch(phase=phase, epoch=k + 1, best=k == 19, loss=1 / (k + 1), accuracy=0.7, val_loss=1.1 / (k + 1),
              val_accuracy=0.7)
        for phase in ("head", "fine-tune") for k in range(20)
    ]  # fmt: skip
    TrainingHistory(kept="fine-tune", scores={}, epochs=epochs, trunk_computed=0).write(str(folder))
    RunResult(
        run_id=RUN,
        config=RunConfig(**Config(data=str(data), out=str(workspace.root)).model_dump(mode="json")),
        resolved=RunResolved(baseline="6:0", classes=predictions.classes),
        cached=[],
        ingest=IngestSummary(
            files=3 * images + 1000, broken=1000, contradictions=0, left_out=0, ignored={}, oriented=0, salt=0,
            window_end="", fingerprint="", spans=days, counts=counts,
        ),
        warnings=["made up"],
        embedding=EmbeddingUse(images=3 * images, computed=3 * images, trunk_computed=0, kinds=[], note=""),
        evaluation=make_evaluation(predictions),
        kept="fine-tune",
        serving=None,
        pushed_version=7,
        pushed_now=True,
        canary=False,
        held_back=None,
        removed_versions=[],
        decision=RetrainingDecision(
            train=True, reason="made up", new_images=images, gone_images=0, settings_key="", images_digest=""
        ),
        live_version=7,
        seconds={"ExampleGen": 60.0, "Trainer": 600.0},
        peak_mb={"ExampleGen": 900.0, "Trainer": 2400.0},
    ).write(str(folder))  # fmt: skip


def write_page(workspace: Workspace) -> None:
    """Writes the page; prints its seconds and processor seconds, without imports, and its bytes."""
    started, used = time.monotonic(), time.process_time()
    page = render(gather(workspace, RUN))
    seconds, processor = time.monotonic() - started, time.process_time() - used
    content = page.encode()
    (workspace.runs / RUN / "report.html").write_bytes(content)
    print(json.dumps({"seconds": round(seconds, 2), "processor_seconds": round(processor, 2), "bytes": len(content)}))


def measure_page(images: int, classes: int, data: pathlib.Path, keep: pathlib.Path | None) -> dict[str, float]:
    """Makes up a run, and writes its page in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        write_run(Workspace(pathlib.Path(folder)), data, images, classes)
        command = f"from benchmarks.report_page import *; write_page(Workspace(pathlib.Path({folder!r})))"
        measured = measure(str(ROOT / ".venv/bin/python"), "-c", command)
        if keep:
            shutil.copy(pathlib.Path(folder, "runs", RUN, "report.html"), keep / f"{images}.html")
    return {"images": images, **json.loads(measured.printed), "peak_bytes": measured.peak_bytes}


def main() -> None:
    """Prints a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10_000, 100_000], help="test images")
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--data", type=pathlib.Path, help="folder of photographs; without it, noise")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the pages")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or pathlib.Path(folder)
        if not options.data:
            write_noise(data, _PICTURES)
        for images in options.images:
            rows.append(row := measure_page(images, options.classes, data, options.keep))
            size, peak = row["bytes"] / 1e6, row["peak_bytes"] / 1e6
            times = f"{row['seconds']:.1f} s, {row['processor_seconds']:.1f} s of a processor"
            print(f"{images:7,} images: {times}, {size:.2f} MB, peak {peak:,.0f} MB", flush=True)
    print(json.dumps({"classes": options.classes, "pages": rows, "limit": _LIMIT}))


if __name__ == "__main__":
    main()
