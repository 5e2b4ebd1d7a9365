"""Measures a run on a machine with a card, beside the article's script, in less than eight minutes.

It prints the seconds of each component, its images a second beside a bare loop of the component's main work, and the
busy share of the card and of the cores; then it writes all figures as JSON. The parts, in this order:

1. bare loops (`bare_loops.py`)
2. `./graft run` in a fresh workspace
3. the article's script (`keras_script.py`) on the images that Graft has put into its training split
4. `benchmarks.embedder`: the Embedder once started
5. `./graft run` on six times as many photographs

A part that does not fit into the time that is left is skipped, or stopped, and the output says so. On a processor the
same parts run on a few images; the output then says that no card was there.

Run: .venv/bin/python -m benchmarks.card [--data PHOTOS] [--minutes 8] [--json card.json]
"""

import argparse
import dataclasses
import json
import os
import pathlib
import re
import tempfile
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import numpy as np

from benchmarks.against_keras_script import SCRIPT_COMMAND, save_random_weights, write_splits
from benchmarks.bounded import Clock, SkippedError
from benchmarks.graft_run import ROOT, TO_THE_END, load_manifest
from benchmarks.photographs_folder import write_photographs
from pipeline.workspace.manifest import RunResult
from schema import features
from serving.process.cores import count_cores

LARGER = 6  # the second run has so many times the images of the first
_EVENT = re.compile(r"(\S+ \S+)Z \S+ INFO (\w+) \S+: (started|finished)")


@dataclasses.dataclass(frozen=True)
class Size:
    """Sizes of the parts.

    Attributes:
        images: photographs of the first run.
        image_size: width and height in pixels.
        epochs: epochs of each phase.
        first_run: seconds that the first run is expected to take.
        embedded: photographs of the Embedder alone, at 224 px.
        embedder: seconds that the Embedder alone is expected to take.
    """

    images: int
    image_size: int
    epochs: int
    first_run: float
    embedded: int
    embedder: float


ON_A_CARD = Size(images=1399, image_size=224, epochs=5, first_run=140.0, embedded=8192, embedder=45.0)
ON_A_PROCESSOR = Size(images=96, image_size=64, epochs=1, first_run=60.0, embedded=96, embedder=45.0)


def read_intervals(out: pathlib.Path) -> dict[str, tuple[float, float]]:
    """Reads the start and the end of each component from the log of a workspace with one run, in seconds since 1970."""
    log = (out / "graft.log").read_text(encoding="utf-8")
    found: dict[str, list[float]] = {}
    for line in log.splitlines():
        if match := _EVENT.match(line):
            when = datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=timezone.utc)
            found.setdefault(match[2], []).append(when.timestamp())
    return {component: (times[0], times[-1]) for component, times in found.items() if len(times) > 1}


def count_busy(samples: list[tuple[float, float]], start: float, end: float) -> float:
    """Returns the number of busy cores between two times, from samples of (time, CPU seconds)."""
    times, seconds = zip(*samples, strict=True)
    before, after = np.interp([start, end], times, seconds)
    return float(after - before) / max(end - start, 1e-3)


def count_images(manifest: RunResult, epochs: int) -> dict[str, tuple[int, str]]:
    """Returns the images that each component handles, and the bare loop that does its main work."""
    splits = {name: sum(counts.values()) for name, counts in manifest.ingest.counts.items()}
    return {
        "ExampleGen": (sum(splits.values()), "decoding"),
        "Embedder": (manifest.embedding.computed, "base"),
        "Trainer": (splits[features.TRAIN] * epochs, "fine-tuning"),
        "Evaluator": (splits[features.TEST], "base"),
    }


def run_graft(
    clock: Clock, needed: float, data: pathlib.Path, out: pathlib.Path, size: Size, options: list[str]
) -> dict[str, Any]:
    """Runs the pipeline in a fresh workspace; returns seconds, images a second and busy shares by component."""
    epochs = str(size.epochs)
    options = [*TO_THE_END, *options, "--head-epochs", epochs, "--fine-tune-epochs", epochs]
    ended = clock.run(needed, str(ROOT), "run", "--data", str(data), "--out", str(out), *options)
    manifest = load_manifest(out)
    images = count_images(manifest, size.epochs)
    waited = manifest.card_waited or {}
    components = {}
    for name, seconds in manifest.seconds.items():
        row: dict[str, Any] = {"seconds": seconds}
        if name in images and seconds:
            row |= {"images_s": images[name][0] / seconds, "bare": images[name][1]}
        if interval := read_intervals(out).get(name):
            row["busy_cores"] = count_busy(ended.samples, *interval)
        components[name] = row | ({"busy_card": 1 - waited[name]} if name in waited else {})
    return {"seconds": ended.seconds, "accuracy": manifest.evaluation.accuracy, "components": components}


def run_script(
    clock: Clock, needed: float, out: pathlib.Path, splits: pathlib.Path, size: Size, options: list[str]
) -> dict[str, Any]:
    """Runs the article's script on the training images of a run of Graft."""
    write_splits(out, splits, [features.TRAIN])
    command = [*SCRIPT_COMMAND[1:], "train", str(splits / features.TRAIN), str(splits / "model.keras"), "--jit", "off"]
    epochs = str(size.epochs)
    return {"seconds": clock.run(needed, *command, *options, "--epochs", epochs, epochs).seconds}


def run_embedder(clock: Clock, needed: float, count: int, data: str | None) -> dict[str, Any]:
    """Runs the benchmark of the Embedder, at 224 px."""
    source = ["--data", data] if data else []
    ended = clock.run(needed, "-m", "benchmarks.embedder", "--images", str(count), *source)
    return dict(json.loads(ended.printed.splitlines()[-1])) | {"seconds": ended.seconds}


def print_run(title: str, run: dict[str, Any], rates: dict[str, float], cores: int) -> None:
    """Prints the table of a run."""
    print(f"\n{title}: {run['seconds']:.1f} s, accuracy {run['accuracy']:.3f}")
    print(f"{'':18}{'seconds':>9}{'images/s':>10}{'bare loop':>11}{'ratio':>7}{'busy cores':>13}{'busy card':>11}")
    for name, row in run["components"].items():
        bare = rates.get(row.get("bare", ""))
        columns = [f"{row['seconds']:9.1f}", f"{row['images_s']:10,.0f}" if "images_s" in row else f"{'':10}"]
        columns += [f"{bare:11,.0f}{row['images_s'] / bare:7.2f}" if bare else f"{'':18}"]
        columns += [f"{row['busy_cores']:7.1f} of {cores}" if "busy_cores" in row else f"{'':12}"]
        columns += [f"{row['busy_card']:10.0%}" if "busy_card" in row else ""]
        print(f"{name:18}{''.join(columns)}", flush=True)


def parse_arguments() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of class folders of JPEGs; without it, noise")
    parser.add_argument("--minutes", type=float, default=8.0, help="time for all parts")
    parser.add_argument("--json", default="card.json", help="file for the figures")
    parser.add_argument("--images", type=int, help="photographs of the first run; 1399 on a card, 96 on a processor")
    return parser.parse_args()


class Report:
    """Figures of all parts.

    Attributes:
        parts: figures by part; of a part that was skipped the reason.
        values: device, cores and sizes.
    """

    def __init__(self) -> None:
        """Begins without figures."""
        self.parts: dict[str, dict[str, Any]] = {}
        self.values: dict[str, Any] = {}

    def run(self, name: str, part: Callable[..., dict[str, Any]], *inputs: Any) -> dict[str, Any]:
        """Runs a part, and returns its figures; no figures of a part that did not fit into the time."""
        try:
            self.parts[name] = part(*inputs)
        except SkippedError as error:
            self.parts[name] = {"left_out": str(error)}
            print(f"\n{name}: {error}", flush=True)
            return {}
        return self.parts[name]


def measure(report: Report, clock: Clock, size: Size, source: str | None, folder: pathlib.Path) -> None:
    """Runs the parts in order, and prints each table at once."""
    data, out, cores = folder / "data", folder / "out", count_cores()
    write_photographs(data, size.images, source)
    bare = report.run("bare loops", run_bare_loops, clock, data, size)
    report.values |= {"device": bare.get("device") or "processor", "cores": cores, **dataclasses.asdict(size)}
    rates = bare.get("images_s", {})
    print(f"{report.values['device']}, {cores} cores, {size.image_size} px, {size.epochs} + {size.epochs} epochs")
    for name, rate in rates.items():
        print(f"bare loop, {name:12} {rate:10,.0f} images/s", flush=True)
    weights = save_random_weights(folder / "base.weights.h5", size.image_size, 0)
    options = ["--image-size", str(size.image_size), "--weights", weights, "--seed", "0"]
    first = report.run("graft", run_graft, clock, size.first_run, data, out, size, options)
    if first:
        print_run(f"graft run, {size.images:,} photographs", first, rates, cores)
        script = report.run("script", run_script, clock, first["seconds"], out, folder / "splits", size, options)
        if script:
            ratio = first["seconds"] / script["seconds"]
            print(f"\nthe article's script: {script['seconds']:.1f} s; graft takes {ratio:.2f} of it", flush=True)
    embedder = report.run("embedder", run_embedder, clock, size.embedder, size.embedded, source)
    if embedder:
        rate, ratio = embedder["embedder"], embedder["ratio"]
        print(f"\nEmbedder once started, 224 px: {rate:,.0f} images/s, {ratio:.2f} of the bare loop", flush=True)
    if first:
        write_photographs(data, (LARGER - 1) * size.images, source, size.images)
        needed = 1.5 * first["seconds"]
        larger = report.run("graft, larger", run_graft, clock, needed, data, folder / "larger", size, options)
        if larger:
            print_run(f"graft run, {LARGER * size.images:,} photographs", larger, rates, cores)


def run_bare_loops(clock: Clock, data: pathlib.Path, size: Size) -> dict[str, Any]:
    """Runs the bare loops in a process of their own, so that the card's memory is free afterwards."""
    ended = clock.run(60.0, "-m", "benchmarks.bare_loops", str(data), str(size.image_size))
    return dict(json.loads(ended.printed.splitlines()[-1])) | {"seconds": ended.seconds}


def hide_cards() -> bool:
    """Hides the cards from this process, which would take their memory; returns whether there are any."""
    import tensorflow as tf

    cards = tf.config.list_physical_devices("GPU")
    tf.config.set_visible_devices([], "GPU")
    return bool(cards)


def main() -> None:
    """Prints tables, and writes the figures."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    arguments, report, card = parse_arguments(), Report(), hide_cards()
    if not card:
        print("No card: TensorFlow sees none. These are figures of the processor, at a small size.", flush=True)
    size = ON_A_CARD if card else ON_A_PROCESSOR
    size = dataclasses.replace(size, images=arguments.images or size.images)
    try:
        with tempfile.TemporaryDirectory() as folder:
            measure(report, Clock(arguments.minutes), size, arguments.data, pathlib.Path(folder))
    finally:
        figures = report.values | {"card": card, "parts": report.parts}
        pathlib.Path(arguments.json).write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
