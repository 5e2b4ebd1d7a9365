"""CPU time an image of orientation, antialiasing and reduced decoding, beside another checkout.

Reads small photographs as they are, and large ones that are made of them: 12 megapixels with detail, of 3 to 5 MB. Each
checkout decodes in a process of its own, in turns, in one thread; the best of some turns counts, for other work on the
machine only adds to it. Ingest is what ExampleGen does to read a file; pixels are the preprocessing; ingest and
embedding is both with the base, which is the same in each checkout.

Run: .venv/bin/python -m benchmarks.upright --data PHOTOS --before OTHER_CHECKOUT [--turns 5]
"""

import argparse
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import textwrap

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 4032, 3024
# Runs in each checkout, of which the older one has another preprocessing.
WORKER = """
    import json, os, pathlib, sys, time
    sys.path.insert(0, os.getcwd())
    import tensorflow as tf
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from components.example_gen.layout import ImageFile
    from components.example_gen.reading import read_image
    from components.network import resnet
    from components.network.weights import RANDOM
    from components.transform.preprocessing import preprocess_images

    signature = [tf.TensorSpec([None], tf.string)]
    graph = tf.function(lambda images: preprocess_images(images, 224, 100.0), signature, autograph=False)
    graph = graph.get_concrete_function()
    folder, turns = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    result = {}
    for kind in sorted(folder.iterdir()):
        files = sorted(kind.iterdir())
        images = [tf.constant([file.read_bytes()]) for file in files]
        ingest = lambda file: read_image(ImageFile(file.name, "a", "", "", 0, 0), str(kind), 100.0)
        for name, function, values in (("ingest", ingest, files), ("pixels", graph, images)):
            function(values[0])
            times = []
            for _ in range(turns):
                started = time.process_time()
                for value in values:
                    function(value)
                times.append((time.process_time() - started) / len(values) * 1e3)
            result[f"{kind.name}, {name}"] = min(times)
    network = resnet.build_embedder(resnet.build_base(224, RANDOM))
    embed = tf.function(lambda pixels: network(pixels, training=False), autograph=False)
    pixels = graph(tf.constant([file.read_bytes() for file in sorted((folder / "small").iterdir())[:32]]))
    times = []
    for _ in range(turns):
        started = time.process_time()
        embed(pixels)
        times.append((time.process_time() - started) / len(pixels) * 1e3)
    result["small, base"] = min(times)
    result["small, ingest and embedding"] = sum(v for k, v in result.items() if k.startswith("small, "))
    print(json.dumps(result))
"""


def make_large(photographs: list[pathlib.Path], folder: pathlib.Path, progressive: bool, count: int = 6) -> None:
    """Enlarges photographs to 12 megapixels, and adds noise until the file has 3 to 5 MB."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for index, path in enumerate(photographs[:count]):
        with Image.open(path) as image:
            large = np.asarray(image.convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.int16)
        noise = random.normal(0, 5 + index % 3, (HEIGHT, WIDTH, 1)).astype(np.int16)
        photograph = Image.fromarray(np.clip(large + noise, 0, 255).astype(np.uint8))
        for quality in range(93, 60, -3):
            file = io.BytesIO()
            photograph.save(file, "JPEG", quality=quality, progressive=progressive, subsampling=2)
            if len(file.getvalue()) < 5e6:
                break
        (folder / f"{index}.jpg").write_bytes(file.getvalue())


def measure(checkout: str, folder: pathlib.Path, turns: int) -> dict[str, float]:
    """CPU milliseconds an image in a checkout, by kind of image and by what is done."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", textwrap.dedent(WORKER), str(folder), str(turns)]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Prints a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of class folders of JPEGs")
    parser.add_argument("--before", required=True, help="checkout to compare with")
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()
    photographs = sorted(pathlib.Path(arguments.data).resolve().glob("*/*.jpg"))
    best: dict[str, dict[str, float]] = {"before": {}, "after": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "small").mkdir()
        for index, path in enumerate(photographs[:: max(1, len(photographs) // 100)][:100]):
            (folder / "small" / f"{index:03d}.jpg").write_bytes(path.read_bytes())
        make_large(photographs, folder / "large", progressive=False)
        make_large(photographs, folder / "large progressive", progressive=True)
        for kind in sorted(folder.iterdir()):
            sizes = [file.stat().st_size for file in kind.iterdir()]
            print(f"{kind.name}: {len(sizes)} files, {min(sizes) / 1e6:.2f} to {max(sizes) / 1e6:.2f} MB", flush=True)
        for _ in range(arguments.turns):
            for when, checkout in (("before", arguments.before), ("after", os.getcwd())):
                for what, milliseconds in measure(checkout, folder, 3).items():
                    best[when][what] = min(milliseconds, best[when].get(what, milliseconds))
    for what, before in best["before"].items():
        after = best["after"][what]
        print(f"{what:28s} {before:8.2f} ms {after:8.2f} ms  time {after / before:5.2f}  rate {before / after:5.2f}")
    print(json.dumps({when: {what: round(value, 3) for what, value in found.items()} for when, found in best.items()}))


if __name__ == "__main__":
    main()
