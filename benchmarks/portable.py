"""What do worker processes cost the Embedder? Images a second through two of them, against the direct runner.

A job server (`pipeline.beam.job_service`) and a worker pool of Beam's run beside this process. The runners take turns,
each with the same files of examples and an empty store. The start is left out (processes, imports, building the base,
opening the graph, tracing): it is what a run takes for one batch a worker, less what these batches take. The embeddings
of all runs must be equal to the last bit.

Run: .venv/bin/python -m benchmarks.portable [--images 1024] [--repeat 3] [--data PHOTOS]
"""

import argparse
import contextlib
import hashlib
import json
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import tensorflow as tf
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import artifact_utils, standard_artifacts

from benchmarks.embedder import BATCH, IMAGE_SIZE, write_examples, write_transform_graph
from benchmarks.photographs_folder import write_photographs
from components.artifacts import IngestReport
from components.embedder.backbone import BaseSpec
from components.embedder.component import DEFAULT_TRUNK_GB, EmbedderExecutor
from components.network.weights import RANDOM
from pipeline.beam.engines import beam_pipeline_args, prepare_code
from pipeline.config.config import Beam
from schema import features

WORKERS, FILES = 2, 8
ROOT = pathlib.Path(__file__).parents[1]


def time_embedder(examples: pathlib.Path, graph: pathlib.Path, out: pathlib.Path, beam: Beam) -> float:
    """Seconds of the component's executor."""
    kinds = {"examples": standard_artifacts.Examples, "transform_graph": standard_artifacts.TransformGraph}
    kinds |= {"report": IngestReport, "embeddings": standard_artifacts.Examples}
    uris = {"examples": examples, "transform_graph": graph, "report": examples, "embeddings": out / "embeddings"}
    artifacts = {name: kind() for name, kind in kinds.items()}
    for name, artifact in artifacts.items():
        artifact.uri = str(uris[name])
    artifacts["examples"].split_names = artifact_utils.encode_split_names(list(features.SPLITS))
    outputs = {"embeddings": [artifacts.pop("embeddings")]}
    properties = {
        "base": BaseSpec(RANDOM, 0, IMAGE_SIZE, "").to_json(),
        "fine_tune_epochs": 0,
        "store": str(out / "store"),
        "trunk_gb": DEFAULT_TRUNK_GB,
        "augmented": 0,
    }
    prepare_code(beam, str(out))
    executor = EmbedderExecutor(BaseBeamExecutor.Context(beam_pipeline_args=beam_pipeline_args(beam, str(out))))
    started = time.monotonic()
    executor.Do({name: [artifact] for name, artifact in artifacts.items()}, outputs, properties)
    return time.monotonic() - started


@contextlib.contextmanager
def serve(folder: pathlib.Path, threads: int) -> Iterator[Beam]:
    """A job server and a worker pool, for as long as the context lasts; gives what the configuration would say."""
    port_file = folder / "port"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        pool_port = free.getsockname()[1]
    environment = os.environ | {
        "PATH": f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # the pool starts `python`
        "PYTHONPATH": str(ROOT),
    }
    if threads:
        environment |= {"TF_NUM_INTRAOP_THREADS": str(threads)}
    commands = [
        ["pipeline.beam.job_service", "--port", "0", "--port-file", str(port_file)],
        ["apache_beam.runners.worker.worker_pool_main", "--service_port", str(pool_port)],
    ]
    with (folder / "services.log").open("wb") as log:
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", *command], env=environment, stdout=log, stderr=log, start_new_session=True
            )
            for command in commands
        ]
    try:
        while not (port_file.exists() and _listens(pool_port)):
            if any(process.poll() is not None for process in processes):
                raise SystemExit((folder / "services.log").read_text()[-2000:])
            time.sleep(0.1)
        yield Beam(
            runner="portable",
            job_endpoint=f"localhost:{port_file.read_text()}",
            environment="EXTERNAL",
            environment_config=f"localhost:{pool_port}",
            parallelism=WORKERS,
        )
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _listens(port: int) -> bool:
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def read_embeddings(out: pathlib.Path) -> list[tuple[bytes, bytes]]:
    """Digest and bits of each embedding, file by file."""
    files = sorted((out / "embeddings" / "Split-train").iterdir())
    records = (tf.train.Example.FromString(r.numpy()) for file in files for r in tf.data.TFRecordDataset(str(file)))
    return [
        (
            record.features.feature["digest"].bytes_list.value[0],
            record.features.feature["embedding"].SerializeToString(),
        )
        for record in records
    ]


def main() -> None:
    """Prints a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of class folders of JPEGs; without it, noise")
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="of each worker; by default TensorFlow's choice")
    arguments = parser.parse_args()
    count, first = arguments.images, WORKERS * BATCH
    rows, seen = [], set()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = pathlib.Path(name)
        write_photographs(folder / "photographs", count, arguments.data)
        write_transform_graph(folder / "photographs", folder)
        write_examples(folder / "photographs", folder / "first", first, WORKERS)
        write_examples(folder / "photographs", folder / "all", count, FILES)
        engines = {"direct": Beam(), "portable": stack.enter_context(serve(folder, arguments.threads))}
        for turn in range(arguments.repeat):
            row = {}
            for engine, beam in engines.items():
                outs = {size: folder / f"out-{turn}-{engine}-{size}" for size in ("first", "all")}
                start, whole = (time_embedder(folder / s, folder / "graph", out, beam) for s, out in outs.items())
                row[engine] = (count - first) / (whole - start)
                row[f"{engine}_start"] = start - first / row[engine]
                seen.add(hashlib.sha256(repr(read_embeddings(outs["all"])).encode()).hexdigest())
            rows.append(row | {"ratio": row["portable"] / row["direct"]})
            rates = ", ".join(f"{engine} {row[engine]:.1f} images/s" for engine in engines)
            print(f"turn {turn + 1}: {rates}, ratio {rows[-1]['ratio']:.3f}", flush=True)
    result = {key: round(statistics.median(row[key] for row in rows), 3) for key in rows[0]}
    print(f"{count} images: ratio {result['ratio']}; embeddings {'equal' if len(seen) == 1 else 'DIFFER'}")
    print(f"start: direct {result['direct_start']} s, {WORKERS} worker processes {result['portable_start']} s")
    print(json.dumps({"images": count, "threads": arguments.threads, "equal": len(seen) == 1} | result))


if __name__ == "__main__":
    main()
