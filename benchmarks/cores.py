"""Measures each component on one core and on more: seconds of its executor, and images a second after the first tenth.

A run makes the inputs. Then each component works on them again in processes of its own, bound to one core and to more
in turn, with empty caches. The seconds are those of the executor, without imports; the rates are those of its progress.

Run: .venv/bin/python -m benchmarks.cores [--data PHOTOS] [--images 2798] [--repeat 2] [--only ExampleGen]
"""

import argparse
import importlib
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time
from typing import Any

from benchmarks.graft_run import TO_THE_END, measure, run_graft
from benchmarks.photographs_folder import write_photographs
from serving.process.cores import bound_thread_pools, count_cores

MODULES = {
    "ExampleGen": "components.example_gen.component",
    "StatisticsGen": "components.statistics_gen",
    "Embedder": "components.embedder.component",
    "Evaluator": "components.evaluator.component",
}
_IMAGE_SIZE = 64  # pixels; small, so that the Embedder decodes as much as it computes


def run_component(name: str, workspace: pathlib.Path, out: pathlib.Path) -> dict[str, float]:
    """Runs an executor on the inputs of its first execution; returns its seconds, and the rate of each step."""
    from components import progress

    component = getattr(importlib.import_module(MODULES[name]), name)
    inputs, properties = read_execution(f"{MODULES[name]}.{name}", workspace)
    properties |= make_empty_caches(properties, out)
    outputs = {key: [channel.type()] for key, channel in component.SPEC_CLASS.OUTPUTS.items()}
    for key, [artifact] in outputs.items():
        artifact.uri = str(out / key)
        (out / key).mkdir(parents=True)
    times: dict[str, list[float]] = {}
    with progress.listen(lambda event: times.setdefault(event.step, []).extend([time.monotonic()] * event.done)):
        started = time.monotonic()
        component.EXECUTOR_SPEC.executor_class().Do(inputs, outputs, properties)
        seconds = time.monotonic() - started
    return {"seconds": seconds} | {step: find_rate(at) for step, at in times.items() if len(at) >= 100}


def find_rate(times: list[float]) -> float:
    """Returns things a second after the first tenth, from the time at which each was done."""
    first = len(times) // 10
    return (len(times) - first) / (times[-1] - times[first - 1])


def read_execution(type_name: str, workspace: pathlib.Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads the input artifacts and the properties of an execution from the metadata of a workspace."""
    from ml_metadata.metadata_store import MetadataStore
    from ml_metadata.proto import metadata_store_pb2
    from tfx.types import artifact_utils

    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(workspace / "metadata.sqlite")
    store = MetadataStore(connection)
    execution = store.get_executions_by_type(type_name)[0]
    inputs: dict[str, list[Any]] = {}
    for event in store.get_events_by_execution_ids([execution.id]):
        if event.type == metadata_store_pb2.Event.INPUT:
            [artifact] = store.get_artifacts_by_id([event.artifact_id])
            [kind] = store.get_artifact_types_by_id([artifact.type_id])
            inputs[event.path.steps[0].key] = [artifact_utils.deserialize_artifact(kind, artifact)]
    values = {**execution.properties, **execution.custom_properties}
    return inputs, {key: getattr(value, value.WhichOneof("value")) for key, value in values.items()}


def make_empty_caches(properties: dict[str, Any], out: pathlib.Path) -> dict[str, str]:
    """Returns the properties that name a cache, with folders of their own."""
    changed = {}
    if "store" in properties:
        changed["store"] = str(out / "store")
    if "split_ratios" in properties.get("settings", ""):
        changed["settings"] = json.dumps(json.loads(properties["settings"]) | {"decoded": str(out / "decoded")})
    return changed


def work(name: str, cores: int, workspace: pathlib.Path) -> None:
    """Runs a component in this process, bound to its first cores, and prints the figures as JSON."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    bound_thread_pools()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(run_component(name, workspace, pathlib.Path(folder))))


def compare(name: str, counts: list[int], repeat: int, workspace: pathlib.Path) -> dict[str, dict[str, list[float]]]:
    """Measures a component on each number of cores, in turn; returns the figures of each turn."""
    figures: dict[str, dict[str, list[float]]] = {str(cores): {} for cores in counts}
    for _ in range(repeat):
        for cores in counts:
            command = [sys.executable, "-m", "benchmarks.cores", "--work", name, str(cores), str(workspace)]
            for what, value in json.loads(measure(*command).printed.splitlines()[-1]).items():
                figures[str(cores)].setdefault(what, []).append(round(value, 2))
    return figures


def main() -> None:
    """Prints a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of class folders of JPEGs; without it, noise")
    parser.add_argument("--images", type=int, default=2798)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--only", choices=list(MODULES))
    parser.add_argument("--workspace", type=pathlib.Path, help="of a run that is there already, instead of a new one")
    parser.add_argument("--work", nargs=3, metavar=("COMPONENT", "CORES", "WORKSPACE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        name, cores, workspace = arguments.work
        work(name, int(cores), pathlib.Path(workspace))
        return
    counts = [1, count_cores()]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if not arguments.workspace:
            write_photographs(folder / "photographs", arguments.images, arguments.data)
            options = ("--weights", "random", "--image-size", str(_IMAGE_SIZE), "--head-epochs", "1")
            run_graft(folder / "photographs", folder / "out", *options, "--fine-tune-epochs", "0", *TO_THE_END)
        result = {}
        for component in [arguments.only] if arguments.only else MODULES:
            result[component] = compare(component, counts, arguments.repeat, arguments.workspace or folder / "out")
            print_figures(component, result[component])
    print(json.dumps({"images": arguments.images, "cores": counts} | result))


def print_figures(component: str, figures: dict[str, dict[str, list[float]]]) -> None:
    """Prints a line for each figure of a component: the values of each turn, and the ratio of the medians."""
    few, many = figures
    for what, values in figures[few].items():
        ratio = statistics.median(figures[many][what]) / statistics.median(values)
        unit = "s" if what == "seconds" else "images/s"
        print(
            f"{component}, {what}: {values} on {few}, {figures[many][what]} {unit} on {many} cores: {ratio:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
