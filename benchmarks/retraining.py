"""What does it cost to run again? A first run, one with a tenth of new images, and one with nothing new.

With the head alone and with fine-tuning, each in a workspace of its own: the wall clock of the whole process, and how
many images went through the frozen base. With nothing new, what is left beside the imports is said, too.

Run: .venv/bin/python -m benchmarks.retraining [--images 5000] [--data PHOTOS] [--only head]
"""

import argparse
import json
import pathlib
import statistics
import sys
import tempfile
from typing import Any

from benchmarks.graft_run import TO_THE_END, load_manifest, measure, run_graft
from benchmarks.photographs_folder import write_photographs

HEAD, FINE_TUNE = "head", "fine-tune"


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of class folders of JPEGs; without it, noise")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--fine-tune-epochs", type=int, default=5)
    parser.add_argument("--weights", default="random", help="as for ./graft run")
    parser.add_argument("--only", choices=(HEAD, FINE_TUNE))
    return parser.parse_args()


def measure_mode(mode: str, arguments: argparse.Namespace, imports: float) -> list[dict[str, Any]]:
    """Runs the pipeline three times in a fresh workspace; a row of the table for each."""
    epochs = arguments.fine_tune_epochs if mode == FINE_TUNE else 0
    options = f"--weights {arguments.weights} --image-size {arguments.image_size} --fine-tune-epochs {epochs}".split()
    new = arguments.images // 10
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        data, out = pathlib.Path(folder, "data"), pathlib.Path(folder, "out")
        write_photographs(data, arguments.images, arguments.data)
        rows.append(run_once(f"{mode}: first", data, out, options))
        write_photographs(data, new, arguments.data, first=arguments.images)
        rows.append(run_once(f"{mode}: {new} new images", data, out, options, rows[0]))
        rows.append(run_once(f"{mode}: nothing new", data, out, options, rows[0]))
    rows[-1]["seconds_without_imports"] = round(rows[-1]["seconds"] - imports, 2)
    print(f"{'  of which not imports':<32} {rows[-1]['seconds_without_imports']:9.1f}", flush=True)
    return rows


def run_once(
    name: str, data: pathlib.Path, out: pathlib.Path, options: list[str], first: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Runs the pipeline, and prints its row."""
    seconds = run_graft(data, out, *options, *TO_THE_END).seconds
    manifest = load_manifest(out)
    row = {
        "run": name,
        "seconds": round(seconds, 2),
        "ratio": round(seconds / first["seconds"], 4) if first else 1.0,
        "forward_passes": manifest.embedding.computed,
        "trunk_forward_passes": manifest.embedding.trunk_computed,
        "seconds_by_component": manifest.seconds,
        "cached": manifest.cached,
    }
    passes = f"{row['forward_passes']:14d} {row['trunk_forward_passes']:9d}"
    print(f"{name:<32} {seconds:9.1f} {row['ratio']:8.3f} {passes}", flush=True)
    return row


def measure_imports() -> float:
    """Seconds that a process takes which only imports what `./graft run` imports; the median of three."""
    command = (sys.executable, "-c", "import pipeline.local.run, pipeline.local.report")
    return statistics.median(measure(*command).seconds for _ in range(3))


def main() -> None:
    """Prints a table and a JSON line."""
    arguments = parse_arguments()
    imports = measure_imports()
    print(f"{arguments.images} images, {arguments.image_size} px, {arguments.weights} weights; imports {imports:.1f} s")
    print(f"{'run':<32} {'seconds':>9} {'to first':>8} {'forward passes':>14} {'of trunk':>9}", flush=True)
    modes = [arguments.only] if arguments.only else [HEAD, FINE_TUNE]
    rows = [row for mode in modes for row in measure_mode(mode, arguments, imports)]
    print(json.dumps({"images": arguments.images, "imports": round(imports, 2), "runs": rows}))


if __name__ == "__main__":
    main()
