"""How near does the Embedder come to a bare loop? Images a second of either, the Embedder's start apart.

The Embedder reads JPEGs from TFRecords, decodes, runs the frozen base, and writes embeddings and store. The bare loop
calls the same base on batches that are in memory, and throws the results away. They take turns. The start (building the
base, opening the graph, tracing, Beam) is what the Embedder needs for a single batch, less what that batch takes.

`--steady` measures the Embedder alone, in images a second after the first tenth; under `taskset -c 0` and `-c 0,1` in
turn it tells how the Embedder grows with the cores.

Run: .venv/bin/python -m benchmarks.embedder [--images 2000] [--data PHOTOS] [--trunk] [--image-size 224] [--steady]
"""

import argparse
import functools
import hashlib
import json
import pathlib
import statistics
import tempfile
import time

import numpy as np
import tensorflow as tf
import tensorflow_transform.beam as tft_beam
from tensorflow_transform.tf_metadata.dataset_metadata import DatasetMetadata
from tfx.types import artifact_utils, standard_artifacts

from benchmarks.photographs_folder import write_photographs
from components import progress
from components.artifacts import IngestReport
from components.embedder.arithmetic import count_batch
from components.embedder.backbone import BaseSpec
from components.embedder.component import DEFAULT_TRUNK_GB, EmbedderExecutor
from components.example_files import name_file
from components.example_gen.component import make_example
from components.example_gen.duplicates import Record
from components.network import resnet
from components.network.weights import RANDOM
from components.records.ingest import IngestSummary
from components.schema_gen import read_schema
from components.transform.preprocessing import preprocessing_fn
from schema import features

BATCH, IMAGE_SIZE, SHARD = count_batch(), 224, 1024


def write_examples(photographs: pathlib.Path, folder: pathlib.Path, count: int, files: int = 0) -> None:
    """Writes examples as ExampleGen does, all of them to train on and as many in each file, and their counts."""
    paths = sorted(photographs.glob("*/*"), key=lambda path: hashlib.sha256(path.read_bytes()).digest())[:count]
    files = files or -(-count // SHARD)
    for split in features.SPLITS:
        (folder / f"Split-{split}").mkdir(parents=True)
        (folder / f"Split-{split}" / name_file(0, 1)).touch()
    (folder / "Split-train" / name_file(0, 1)).unlink()
    for number in range(files):
        with tf.io.TFRecordWriter(str(folder / "Split-train" / name_file(number, files))) as writer:
            for path in paths[number::files]:
                content = path.read_bytes()
                digest = hashlib.sha256(content).hexdigest()
                record = Record(path.name, path.parent.name, "", "", len(content), digest)
                writer.write(make_example(record, content).SerializeToString())
    counts = {split: {"all": count if split == features.TRAIN else 0} for split in features.SPLITS}
    IngestSummary(
        files=count, broken=0, contradictions=0, left_out=0, ignored={}, oriented=0, salt=0, window_end="",
        fingerprint="", spans=[], counts=counts,
    ).write(str(folder))  # fmt: skip


def write_transform_graph(photographs: pathlib.Path, folder: pathlib.Path, image_size: int = IMAGE_SIZE) -> None:
    """Traces the preprocessing graph as TFX's Transform does."""
    classes = sorted(path.name for path in photographs.iterdir())
    config = {"classes": classes, "image_size": image_size, "max_megapixels": 100.0}
    config |= {"orientation": "exif", "resize": "stretch"}
    row = {"image": [b""], "label": [classes[0].encode()], "path": [b""], "digest": [b""], "brightness": [0.0]}
    with tft_beam.Context(temp_dir=str(folder / "tmp")):
        transform_fn = ([row], DatasetMetadata(read_schema(classes))) | tft_beam.AnalyzeDataset(
            functools.partial(preprocessing_fn, custom_config=config)
        )
        _ = transform_fn | tft_beam.WriteTransformFn(str(folder / "graph"))


def time_embedder(
    examples: pathlib.Path, graph: pathlib.Path, out: pathlib.Path, trunk: bool, image_size: int = IMAGE_SIZE
) -> float:
    """Seconds of the component's executor, with an empty store."""
    out.mkdir(parents=True)
    artifacts = {"examples": standard_artifacts.Examples(), "embeddings": standard_artifacts.Examples()}
    artifacts |= {"transform_graph": standard_artifacts.TransformGraph(), "report": IngestReport()}
    uris = {"examples": examples, "report": examples, "transform_graph": graph, "embeddings": out}
    for name, artifact in artifacts.items():
        artifact.uri = str(uris[name])
    artifacts["examples"].split_names = artifact_utils.encode_split_names(list(features.SPLITS))
    spec = BaseSpec(RANDOM, 0, image_size, "conv5_block1" if trunk else "")
    properties = {"base": spec.to_json(), "fine_tune_epochs": int(trunk), "store": str(out / "store")}
    started = time.monotonic()
    EmbedderExecutor().Do(
        {name: [artifacts[name]] for name in ("examples", "transform_graph", "report")},
        {"embeddings": [artifacts["embeddings"]]},
        properties | {"trunk_gb": DEFAULT_TRUNK_GB, "augmented": 0},
    )
    return time.monotonic() - started


class BareLoop:
    """The base on batches that are ready."""

    def __init__(self, image_size: int) -> None:
        """Builds and traces."""
        embedder = resnet.build_embedder(resnet.build_base(image_size, RANDOM))
        self._forward = tf.function(lambda batch: embedder(batch, training=False), jit_compile=False)
        random = np.random.default_rng(0)
        shape = (BATCH, image_size, image_size, 3)
        self._batches = [tf.constant(random.normal(0, 60, shape), tf.float32) for _ in range(4)]
        self._forward(self._batches[0])

    def rate(self, batches: int) -> float:
        """Images a second."""
        started = time.monotonic()
        for index in range(batches):
            self._forward(self._batches[index % 4]).numpy()
        return batches * BATCH / (time.monotonic() - started)


def measure_steady(arguments: argparse.Namespace) -> dict[str, float]:
    """Measures images a second and busy cores after the first tenth of the images."""
    count, seen = arguments.images, [(0.0, 0.0, 0)]

    def note(event: progress.Event) -> None:
        if event.step == "images embedded" and event.done:
            seen.append((time.monotonic(), time.process_time(), seen[-1][2] + event.done))

    with tempfile.TemporaryDirectory() as name, progress.listen(note):
        folder = pathlib.Path(name)
        write_photographs(folder / "photographs", count, arguments.data)
        write_transform_graph(folder / "photographs", folder, arguments.image_size)
        write_examples(folder / "photographs", folder / "examples", count)
        time_embedder(folder / "examples", folder / "graph", folder / "out", arguments.trunk, arguments.image_size)
    began, end = next(at for at in seen if at[2] >= count / 10), seen[-1]
    seconds, cpu, images = (after - before for before, after in zip(began, end, strict=True))
    return {"images_s": round(images / seconds, 1), "busy_cores": round(cpu / seconds, 2)}


def main() -> None:
    """Prints a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of class folders of JPEGs; without it, noise")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--trunk", action="store_true", help="keep what fine-tuning starts from, too")
    parser.add_argument("--image-size", type=int, default=IMAGE_SIZE)
    parser.add_argument("--steady", action="store_true", help="the Embedder alone, after the first tenth")
    arguments = parser.parse_args()
    if arguments.steady:
        print(json.dumps(measure_steady(arguments)))
        return
    count, size, rows = arguments.images, arguments.image_size, []
    bare = BareLoop(size)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_photographs(folder / "photographs", count, arguments.data)
        write_transform_graph(folder / "photographs", folder, size)
        for images in (BATCH, count):
            write_examples(folder / "photographs", folder / f"examples-{images}", images)
        for turn in range(arguments.repeat):
            before = bare.rate(count // BATCH // 2)
            one_batch, whole = (
                time_embedder(
                    folder / f"examples-{n}", folder / "graph", folder / f"out-{turn}-{n}", arguments.trunk, size
                )
                for n in (BATCH, count)
            )
            after = bare.rate(count // BATCH // 2)
            loop = 2 / (1 / before + 1 / after)
            embedder = (count - BATCH) / (whole - one_batch)
            rows.append({"bare": loop, "embedder": embedder, "start": one_batch - BATCH / embedder, "whole": whole})
            print(
                f"turn {turn + 1}: bare loop {before:.1f} and {after:.1f}, embedder {embedder:.1f} images/s", flush=True
            )
    result = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    result["ratio"] = statistics.median(row["embedder"] / row["bare"] for row in rows)
    print(f"{count} images: {result['embedder'] / 1:.1f} images/s, the bare loop {result['bare']:.1f}")
    print(f"ratio {result['ratio']:.3f}; start {result['start']:.1f} s, in all {result['whole']:.1f} s")
    print(json.dumps({"images": count, "trunk": arguments.trunk} | {k: round(v, 3) for k, v in result.items()}))


if __name__ == "__main__":
    main()
