"""Is the whole pipeline faster than the script of every transfer-learning article? And as good?

`./graft run` in a fresh workspace against `keras_script.py`, in turn, from the same weights, on the same training
images, for as many epochs, in batches of as many. The wall clock of either process counts, from the imports on.
Graft's has checked, split, validated, evaluated and pushed; the script's has trained and saved. What its model is
worth on Graft's test split is measured beside the clock.

To be fair to the script it is compiled with jit_compile=False. Keras' default, "auto", is XLA here, which on a CPU
takes about three times as long: `--jit auto` measures that.

Run: .venv/bin/python -m benchmarks.against_keras_script [--images 1000] [--data PHOTOS] [--bfloat16] [--all]
     .venv/bin/python -m benchmarks.against_keras_script --digits --image-size 32
"""

import argparse
import json
import os
import pathlib
import shlex
import statistics
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from benchmarks.graft_run import TO_THE_END, load_manifest, measure, run_graft
from benchmarks.photographs_folder import write_photographs
from pipeline.downloads.sample import write_digits
from schema import features

GRAFT, GRAFT_BFLOAT16, GRAFT_ALL, SCRIPT = "graft", "graft, bfloat16", "graft, all layers", "script"
SCRIPT_COMMAND = (sys.executable, "-m", "benchmarks.keras_script")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    images = parser.add_mutually_exclusive_group()
    images.add_argument("--data", help="folder of class folders of JPEGs; without it, noise")
    images.add_argument("--digits", action="store_true", help="the 1797 images of digits inside scikit-learn")
    parser.add_argument("--images", type=int, default=1000, help="how many photographs; Graft splits them")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, nargs=2, default=[5, 5], metavar=("HEAD", "FINE_TUNE"))
    parser.add_argument("--weights", default="random", help="random, imagenet, or a file for ResNet50 without its top")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jit", choices=("auto", "off"), default="off", help="of the script")
    parser.add_argument("--all", action="store_true", help="Graft with --fine-tune-from all, too")
    parser.add_argument("--bfloat16", action="store_true", help="Graft with --precision bfloat16, too")
    parser.add_argument(
        "--graft-options", type=shlex.split, default=[], metavar="'...'", help="further ones, for Graft"
    )
    parser.add_argument("--repeat", type=int, default=1)
    return parser.parse_args()


def write_data(folder: pathlib.Path, arguments: argparse.Namespace) -> None:
    """Writes the images that Graft is given."""
    if arguments.digits:
        write_digits(str(folder))
    else:
        write_photographs(folder, arguments.images, arguments.data)


def save_random_weights(path: pathlib.Path, image_size: int, seed: int) -> str:
    """Saves a base with random weights, so that either side starts from the same."""
    import keras  # TensorFlow has things to say, unless `main` has hushed it

    keras.utils.set_random_seed(seed)
    shape = (image_size, image_size, 3)
    keras.applications.ResNet50(include_top=False, weights=None, input_shape=shape).save_weights(path)
    return str(path)


def write_splits(
    out: pathlib.Path, folder: pathlib.Path, splits: Sequence[str] = (features.TRAIN, features.TEST)
) -> None:
    """Writes the images of Graft's splits as class folders."""
    import tensorflow as tf

    newest = max((out / "pipeline" / "ExampleGen" / "examples").iterdir(), key=lambda path: int(path.name))
    for split in splits:
        for record in tf.data.TFRecordDataset([str(path) for path in newest.glob(f"Split-{split}/*")]):
            values = tf.train.Example.FromString(record.numpy()).features.feature
            image, label, path, digest = (
                values[name].bytes_list.value[0]
                for name in (features.IMAGE, features.LABEL, features.PATH, features.DIGEST)
            )
            file = folder / split / label.decode() / (digest.decode() + pathlib.PurePath(path.decode()).suffix)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(image)


def run_pipeline(data: pathlib.Path, out: pathlib.Path, options: list[str]) -> dict[str, Any]:
    """Graft, in a fresh workspace."""
    seconds = run_graft(data, out, *TO_THE_END, *options).seconds
    manifest = load_manifest(out)
    return {
        "seconds": seconds,
        "accuracy": manifest.evaluation.accuracy,
        "kept": manifest.kept,
        "seconds_by_component": manifest.seconds,
    }


def run_script(splits: pathlib.Path, options: list[str], jit: str) -> dict[str, Any]:
    """The script; and then, beside the clock, what its model is worth."""
    model = str(splits / "model.keras")
    trained = measure(*SCRIPT_COMMAND, "train", str(splits / features.TRAIN), model, "--jit", jit, *options)
    evaluated = measure(*SCRIPT_COMMAND, "evaluate", str(splits / features.TEST), model, *options)
    return {"seconds": trained.seconds, "accuracy": json.loads(evaluated.printed.splitlines()[-1])["accuracy"]}


def run_in_turn(arguments: argparse.Namespace, folder: pathlib.Path) -> dict[str, list[dict[str, Any]]]:
    """Runs one after the other, as often as asked, and says at once how it went."""
    weights = arguments.weights
    if weights == "random":
        weights = save_random_weights(folder / "base.weights.h5", arguments.image_size, arguments.seed)
    common = f"--image-size {arguments.image_size} --batch-size {arguments.batch_size} --seed {arguments.seed}".split()
    common += ["--weights", weights]
    head, fine_tune = map(str, arguments.epochs)
    graft_options = [*common, "--head-epochs", head, "--fine-tune-epochs", fine_tune, *arguments.graft_options]
    data, splits = folder / "data", folder / "splits"
    write_data(data, arguments)
    runs: dict[str, list[dict[str, Any]]] = {GRAFT: [], GRAFT_BFLOAT16: [], GRAFT_ALL: [], SCRIPT: []}

    def note(name: str, run: dict[str, Any]) -> None:
        runs[name].append(run)
        print(f"{name:<20} {run['seconds']:9.1f} s   accuracy {run['accuracy']:.3f}", flush=True)
        if parts := run.get("seconds_by_component"):
            print("  " + ", ".join(f"{component} {seconds:.1f}" for component, seconds in parts.items()), flush=True)

    for index in range(arguments.repeat):
        out = folder / f"out-{index}"
        note(GRAFT, run_pipeline(data, out, graft_options))
        if arguments.bfloat16:
            note(
                GRAFT_BFLOAT16,
                run_pipeline(data, folder / f"bfloat16-{index}", [*graft_options, "--precision", "bfloat16"]),
            )
        if arguments.all:
            note(GRAFT_ALL, run_pipeline(data, folder / f"all-{index}", [*graft_options, "--fine-tune-from", "all"]))
        if not index:
            write_splits(out, splits)  # the same in each run
        note(SCRIPT, run_script(splits, [*common, "--epochs", head, fine_tune], arguments.jit))
    return {name: each for name, each in runs.items() if each}


def main() -> None:
    """Prints a table and a JSON line."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        runs = run_in_turn(arguments, pathlib.Path(folder))
    seconds = {name: statistics.median(run["seconds"] for run in each) for name, each in runs.items()}
    ratios = {name: seconds[SCRIPT] / each for name, each in seconds.items() if name != SCRIPT}
    for name, ratio in ratios.items():
        print(f"{name}: 1/{ratio:.2f} of the time of the script")
    print(json.dumps({"arguments": vars(arguments), "runs": runs, "median_seconds": seconds, "times_faster": ratios}))


if __name__ == "__main__":
    main()
