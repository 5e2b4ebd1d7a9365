"""Does each task of Kubeflow fit its default requests? The compiled pipeline, task by task, on photographs.

Each task runs as its pod would, by `python -m kubeflow.entry_point`. The peak is that of the resident memory of the
command and of the processes below it, such as the ServingValidator's model server; the page cache is not in it. The
cores are the processor time of all of them by the wall clock.

Run: .venv/bin/python -m benchmarks.kubeflow_memory [--data PHOTOS] [--images 1000]
"""

import argparse
import importlib
import json
import pathlib
import resource
import sys
import tempfile
import time
from typing import Any

import psutil

from benchmarks.graft_run import ROOT
from benchmarks.photographs_folder import write_noise, write_photographs

_PAUSE = 0.05  # seconds between two looks at the memory
_OPTIONS = {"weights": "random", "head_epochs": 1, "fine_tune_epochs": 1, "min_accuracy": 0.0}


def run_measured(file: pathlib.Path, command: list[str]) -> int:
    """Runs a command in the place of a pod's and writes its peak memory in bytes and its cores to a JSON file."""
    started = time.monotonic()
    process = psutil.Popen(command)
    peak = 0
    while process.poll() is None:
        peak = max(peak, _resident(process))
        time.sleep(_PAUSE)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = time.monotonic() - started
    cores = (used.ru_utime + used.ru_stime) / seconds
    file.write_text(json.dumps({"seconds": seconds, "peak_bytes": peak, "cores": cores}), encoding="utf-8")
    return int(process.returncode)


def _resident(process: psutil.Process) -> int:
    total = 0
    for part in [process, *process.children(recursive=True)]:
        try:
            total += part.memory_info().rss
        except psutil.Error:  # ended in between
            continue
    return total


def wrap_commands(spec: dict[str, Any], folder: pathlib.Path) -> None:
    """Puts this module before the command of each task; changes the spec in place."""
    own = [sys.executable, "-m", "benchmarks.kubeflow_memory", "--into"]
    for component, definition in spec["components"].items():
        container = spec["deploymentSpec"]["executors"][definition["executorLabel"]]["container"]
        container["command"] = [*own, str(folder / component), "--", sys.executable, *container["command"][1:]]


def measure_tasks(data: pathlib.Path, root: pathlib.Path, image_size: int) -> dict[str, dict[str, float]]:
    """Runs the pipeline once; returns seconds, peak bytes and cores by task."""
    from kubeflow.compile import compile_spec
    from pipeline.config.load import load_config

    sys.path.append(str(ROOT / "tests/kubeflow"))
    strict_executor = importlib.import_module("strict_executor")

    classes = ",".join(sorted(path.name for path in data.iterdir()))
    config = load_config(None, {"data": str(data), "classes": classes, "image_size": image_size, **_OPTIONS})
    spec = compile_spec(config, "registry.example/graft:1", str(root / "graft"))
    peaks = root / "peaks"
    peaks.mkdir()
    wrap_commands(spec, peaks)
    backend = strict_executor.StrictBackend(root / "backend", {"PYTHONPATH": str(ROOT)}, bucket=True)
    ended = backend.run(spec, {}, lambda line: print(line, flush=True))
    if ended.state != "SUCCEEDED":
        raise SystemExit("The run failed; see above.")
    return {name: json.loads((peaks / name).read_text(encoding="utf-8")) for name in ended.tasks}


def main() -> int:
    """Prints a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of class folders of photographs, to make more of")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--width", type=int, default=500, help="of the noise that stands in for photographs")
    parser.add_argument("--height", type=int, default=375)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--into", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("command", nargs="*", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.into:
        return run_measured(args.into, args.command)
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        if args.data:
            write_photographs(root / "photos", args.images, args.data)
        else:
            write_noise(root / "photos", args.images, size=(args.width, args.height))
        tasks = measure_tasks(root / "photos", root, args.image_size)
    for name, task in tasks.items():
        peak = task["peak_bytes"] / 2**20
        print(f"{name:<18} {task['seconds']:7.1f} s  peak {peak:6,.0f} MiB  {task['cores']:.2f} cores")
    print(json.dumps({"images": args.images, "tasks": tasks}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
