"""What does each component cost an image, and what would a million and a hundred million images cost?

Runs the pipeline on folders of several sizes, fits a line (a fixed part and a part an image) to the seconds of each
component, to the bytes of each folder of the workspace and to the memory, and extrapolates; then spreads over workers
what Beam spreads. A line is what the fit assumes, and a worker is a machine like this one.

Run: .venv/bin/python -m benchmarks.scaling [--images 250 500 1000] [--data PHOTOS]
"""

import argparse
import json
import pathlib
import tempfile
from typing import Any

import numpy as np

from benchmarks.graft_run import TO_THE_END, load_manifest, run_graft
from benchmarks.photographs_folder import write_photographs

MILLIONS = {"1M": 1e6, "100M": 1e8}
WORKERS = (1, 10, 100)
NEW_SHARE = 0.01  # of the images, in a night: only these go through the base
BY_BEAM = {"ExampleGen", "StatisticsGen", "Embedder", "Evaluator"}
SPREAD = {
    "ExampleGen": "Beam; the list of records on one machine",
    "StatisticsGen": "Beam",
    "Transform": "constant: nothing is analyzed",
    "Embedder": "Beam; once in the life of an image",
    "Trainer": "one machine, its GPUs",
    "Evaluator": "Beam",
    "ServingValidator": "constant: a few images",
}


def measure_size(count: int, source: str | None, options: list[str]) -> dict[str, Any]:
    """Runs the pipeline on so many images in a fresh workspace; seconds by component and bytes by folder."""
    with tempfile.TemporaryDirectory() as folder:
        data, out = pathlib.Path(folder, "data"), pathlib.Path(folder, "out")
        write_photographs(data, count, source)
        whole = run_graft(data, out, *options, *TO_THE_END)
        kept = {"images": data, "examples": out / "pipeline/ExampleGen", "embeddings": out / "pipeline/Embedder"}
        kept |= {path.name.rsplit("-", 1)[0] + " (store)": path for path in (out / "embeddings").iterdir()}
        sizes = {name: sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) for name, path in kept.items()}
        seconds = load_manifest(out).seconds
        print(f"{count:8,d} images: {whole.seconds:7.1f} s, peak {whole.peak_bytes / 1e6:,.0f} MB", flush=True)
        return {"images": count, "seconds": seconds, "bytes": sizes, "memory": {"the whole run": whole.peak_bytes}}


def fit(counts: list[int], values: list[float]) -> tuple[float, float]:
    """The fixed part and the part an image, by least squares; neither is less than nothing."""
    slope, fixed = np.polyfit(counts, values, 1)
    return max(float(fixed), 0.0), max(float(slope), 0.0)


def describe_seconds(seconds: float) -> str:
    """In the unit that a person would take."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.1f} s"


def describe_bytes(size: float) -> str:
    """In the unit that a person would take."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{size / 1e3:.1f} kB"


def estimate(costs: dict[str, dict[str, float]], images: float, workers: int, new_share: float) -> float:
    """The seconds of a run: what Beam spreads over so many workers, and the rest on one machine."""
    total = 0.0
    for name, cost in costs.items():
        seen = images * (new_share if name == "Embedder" else 1)
        total += cost["fixed"] + cost["an_image"] * seen / (workers if name in BY_BEAM else 1)
    return total


def print_workers(costs: dict[str, dict[str, float]]) -> None:
    """Prints what a first run and a night cost, by workers."""
    for label, new_share in (("first run", 1.0), (f"a night, {NEW_SHARE:.0%} new", NEW_SHARE)):
        for size, images in MILLIONS.items():
            times = [describe_seconds(estimate(costs, images, workers, new_share)) for workers in WORKERS]
            of_trainer = describe_seconds(costs["Trainer"]["fixed"] + costs["Trainer"]["an_image"] * images)
            columns = "".join(f"{n:>6} workers {time:>10}" for n, time in zip(WORKERS, times, strict=True))
            print(f"{label:<18} {size:>5}{columns}   of it the Trainer {of_trainer:>10}")


def main() -> None:
    """Prints two tables and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of class folders of JPEGs; without it, noise")
    parser.add_argument("--images", type=int, nargs="+", default=[250, 500, 1000])
    parser.add_argument("--graft-options", default="--weights random", help="further options of ./graft run")
    arguments = parser.parse_args()
    options = arguments.graft_options.split()
    rows = [measure_size(count, arguments.data, options) for count in arguments.images]
    counts = [row["images"] for row in rows]
    result: dict[str, Any] = {"images": counts}
    kinds = (("seconds", describe_seconds, 1e3), ("bytes", describe_bytes, 1e-3), ("memory", describe_bytes, 1e-3))
    for key, describe, an_image in kinds:
        unit = "ms" if key == "seconds" else "kB"
        print(f"\n{key:<26} {'fixed':>10} {unit + ' an image':>12} {'1M':>12} {'100M':>12}")
        result[key] = {}
        for name in rows[0][key]:
            fixed, slope = fit(counts, [row[key][name] for row in rows])
            costs = [describe(fixed + slope * count) for count in MILLIONS.values()]
            note = SPREAD.get(name, "")
            print(f"{name:<26} {describe(fixed):>10} {slope * an_image:>12.3f} {costs[0]:>12} {costs[1]:>12}  {note}")
            result[key][name] = {"fixed": round(fixed, 3), "an_image": slope}
    print()
    print_workers(result["seconds"])
    print(json.dumps(result))


if __name__ == "__main__":
    main()
