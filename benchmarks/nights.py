"""Counts how many of twenty equally good models the local pipeline refuses, by today's verdict and by that of 0.2.0.

Runs `run_pipeline` a first time, and then once a night on the same digits of scikit-learn with the same settings and
another seed: other first weights of the head, and another order of the images. So a night's model is better or worse
than another's by chance alone. Only the head is trained, on a small random base, which stands for ResNet50 as in the
tests.
Each night has the same test images, because the salt of the live version stays.

The verdict of 0.2.0 is computed from the predictions that the runs keep: it refused a test accuracy below the live
version's (`max_accuracy_drop = 0.0`). It is counted beside the version that was live in these nights, and beside the
one that would have been live had that rule decided.

Run: .venv/bin/python -m benchmarks.nights [--nights 20] [--images-a-class 178] [--head-epochs 5]
"""

import argparse
import io
import json
import pathlib
import runpy
import shutil
import tempfile
import time
from typing import Any

import keras
import numpy as np
from rich.console import Console

from benchmarks.graft_run import ROOT
from components.network import resnet
from components.records.predictions import PREDICTIONS, read_predictions
from pipeline.config.load import load_config
from pipeline.downloads.sample import write_digits
from pipeline.local.run import run_pipeline

build_small_base = runpy.run_path(str(ROOT / "tests/fixtures/small_networks.py"))["build_small_base"]


def write_images(folder: pathlib.Path, images_a_class: int) -> None:
    """Writes the digits as PNG files in ten class folders, up to a number of images each."""
    with tempfile.TemporaryDirectory() as whole:
        write_digits(whole)
        for label in sorted(pathlib.Path(whole).iterdir()):
            (folder / label.name).mkdir(parents=True)
            for image in sorted(label.iterdir())[:images_a_class]:
                shutil.copy(image, folder / label.name)


def run_night(data: pathlib.Path, out: pathlib.Path, seed: int, head_epochs: int) -> dict[str, Any]:
    """Runs the pipeline with a seed, and returns what was decided, and which test images were predicted right."""
    started = time.monotonic()
    settings = {
        "data": str(data),
        "out": str(out),
        "weights": "random",
        "image_size": 32,
        "head_epochs": head_epochs,
        "fine_tune_epochs": 0,
        "seed": seed,
        "keep_versions": 30,
    }
    outcome = run_pipeline(load_config(None, settings), Console(file=io.StringIO()))
    keras.backend.clear_session()
    kept = read_predictions(str(out / "runs" / outcome.result.run_id / PREDICTIONS))
    test = kept.take([row for row, split in enumerate(kept.split) if split == "test"])
    right = np.array(test.classes)[test.candidate.argmax(axis=1)] == np.array(test.label)
    summary = outcome.result.evaluation
    return {
        "seed": seed,
        "right": dict(zip(test.path, right.tolist(), strict=True)),
        "p_value": summary.baseline.p_value if summary.baseline else None,
        "failures": summary.failures,
        "pushed": outcome.result.pushed_now,
        "seconds": round(time.monotonic() - started, 1),
    }


def replay(nights: list[dict[str, Any]]) -> dict[str, list[int]]:
    """Returns the nights that each rule refuses; the first night has no version to compare with."""
    count = [sum(night["right"].values()) for night in nights]
    refused: dict[str, list[int]] = {"today": [], "0.2.0 beside the same live version": [], "0.2.0 alone": []}
    live = live_by_old = 0
    for number in range(1, len(nights)):
        if nights[number]["failures"]:
            refused["today"].append(number)
        if count[number] < count[live]:
            refused["0.2.0 beside the same live version"].append(number)
        if count[number] < count[live_by_old]:
            refused["0.2.0 alone"].append(number)
        else:
            live_by_old = number
        live = number if nights[number]["pushed"] else live
    return refused


def main() -> None:
    """Prints a row for each night, the number of refused nights, and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=int, default=20)
    parser.add_argument("--images-a-class", type=int, default=178)
    parser.add_argument("--head-epochs", type=int, default=5)
    arguments = parser.parse_args()
    resnet.build_base = lambda image_size, weights, seed=0, policy="float32": build_small_base(image_size, weights)
    nights: list[dict[str, Any]] = []
    print("| night | right of test | p of McNemar's test | pushed | refused because |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        data, out = pathlib.Path(folder, "digits"), pathlib.Path(folder, "out")
        write_images(data, arguments.images_a_class)
        for seed in range(arguments.nights + 1):
            night = run_night(data, out, seed, arguments.head_epochs)
            assert not nights or night["right"].keys() == nights[0]["right"].keys()
            nights.append(night)
            right, p_value = sum(night["right"].values()), night["p_value"]
            cells = (seed, f"{right} of {len(night['right'])}", "" if p_value is None else f"{p_value:.3f}")
            print(f"| {' | '.join(map(str, cells))} | {night['pushed']} | {'; '.join(night['failures'])} |", flush=True)
    refused = replay(nights)
    for rule, numbers in refused.items():
        print(f"{rule}: {len(numbers)} of {arguments.nights} refused: {numbers}")
    figures = [{**night, "right": sum(night["right"].values())} for night in nights]
    print(json.dumps({"arguments": vars(arguments), "refused": refused, "nights": figures}))


if __name__ == "__main__":
    main()
