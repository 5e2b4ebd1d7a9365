"""The command line. Each command imports what it needs and no more: TensorFlow takes seconds, TFX more."""

import os
import pathlib
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from schema.errors import GraftError

if TYPE_CHECKING:
    from pipeline.config import Config

ROOT = pathlib.Path(__file__).parents[1]
DEFAULT_OUT, DEMO_OUT = "graft-out", "graft-demo"
NOT_PUSHED = 4
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def cli() -> None:
    """Graft turns a folder of labelled images into a served classifier.

    \b
    ./graft demo                      see it work on the digits that ship with scikit-learn
    ./graft run --data photos/        your own: photos/cats/*.jpg, photos/dogs/*.jpg
    ./graft predict one.jpg           ask the newest pushed model
    """


def main() -> None:
    """Runs the command line; what a user can cause ends in one message, not in a traceback."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", message="You are using a non-supported Python version", category=FutureWarning)
    arguments, sys.argv = sys.argv[1:], sys.argv[:1]  # absl, inside TFX, would parse them once more
    try:
        status = cli.main(arguments, prog_name="./graft", standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        sys.exit(INTERRUPTED)
    except GraftError as error:
        click.echo(f"graft: {error}", err=True)
        sys.exit(error.exit_code)


def _training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of `run` that change what is trained; their defaults are those of `pipeline/config.py`."""
    options = [
        click.option("--config", "config_file", metavar="FILE", help="TOML file; options override it."),
        click.option("--classes", metavar="A,B", help="Class names, in the order of the model's outputs."),
        click.option("--weights", metavar="imagenet|random|FILE", help="Weights of ResNet50.  [imagenet]"),
        click.option("--head-epochs", type=int, metavar="N", help="Epochs of the head alone.  [5]"),
        click.option("--fine-tune-epochs", type=int, metavar="N", help="Epochs of fine-tuning; 0: none.  [5]"),
        click.option("--fine-tune-from", metavar="LAYER|all", help="First block to fine-tune.  [conv5_block1]"),
        click.option("--image-size", type=int, metavar="N", help="Side in pixels, 32 to 1024.  [224]"),
        click.option("--window-end", metavar="DATE", help="Newest date folder to read.  [the newest there is]"),
        click.option("--window-days", type=int, metavar="N", help="How many days up to it.  [all]"),
        click.option("--seed", type=int, metavar="N", help="Of weights and order.  [0]"),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@cli.command()
@click.option("--data", metavar="DIR", help="Folder with one sub-folder per class.")
@click.option("--out", metavar="DIR", help=f"Workspace.  [{DEFAULT_OUT}]")
@click.option("--require-push", is_flag=True, help="Exit with 4 unless the model of this run is live in the end.")
@_training_options
def run(config_file: str | None, classes: str | None, require_push: bool, **options: Any) -> None:
    """Train on a folder of images, evaluate, and push.

    \b
    ./graft run --data photos/
    ./graft run --data photos/ --weights random --fine-tune-epochs 0
    ./graft run --data daily/ --window-days 30          date folders: daily/2026-11-23/cats/
    """
    from pipeline.config import load_config

    names = tuple(name.strip() for name in classes.split(",")) if classes else None
    pushed = _run(load_config(config_file, options | {"classes": names}))
    if require_push and not pushed:
        sys.exit(NOT_PUSHED)


@cli.command()
@click.option("--out", default=DEMO_OUT, show_default=True, metavar="DIR", help="Workspace.")
def demo(out: str) -> None:
    """Run the whole pipeline on real images of digits, in a few minutes.

    The 1797 images ship with scikit-learn. With ImageNet weights if they can be had, else with random ones.
    """
    from pipeline.demo import make_config

    _run(make_config(out, click.echo))


def _run(config: "Config") -> bool:
    """Runs the pipeline; returns whether the model is live in the end."""
    from pipeline.terminal import redirect_noise
    from pipeline.workspace import prepare

    log = prepare(config.out).log
    errors = os.fdopen(os.dup(2), "w")
    console = redirect_noise(log)
    console.print(f"Graft: {config.data} -> {config.out}   (details: {log})", highlight=False, soft_wrap=True)
    try:
        from pipeline.report import print_report
        from pipeline.run import run_pipeline

        outcome = run_pipeline(config, console)
        print_report(outcome, config, console)
        return outcome.pushed_version is not None
    except GraftError as error:
        print(f"graft: {error}", file=errors, flush=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("graft: interrupted. What is finished is kept: the same command goes on from there.", file=errors)
        errors.flush()
        os._exit(INTERRUPTED)  # Beam's threads would finish their bundles first
    except Exception as error:
        import logging

        logging.exception("graft run failed")
        print(f"graft: unexpected: {type(error).__name__}: {error}\nThe traceback is in {log}", file=errors, flush=True)
        sys.exit(1)


@cli.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option(
    "--model", metavar="DIR", help="Folder of a version, of versions, or a workspace.  [the newest pushed model]"
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per image and line.")
def predict(images: tuple[str, ...], model: str | None, as_json: bool) -> None:
    """Say what is on images.

    \b
    ./graft predict cat.jpg dog.jpg
    ./graft predict --json *.jpg --model graft-out/serving/graft
    """
    from pipeline.terminal import muted_imports

    with muted_imports():
        from serving.predict import find_model, predict_files, print_predictions

    workspaces = [DEFAULT_OUT, DEMO_OUT]
    if model and (pathlib.Path(model) / "serving").is_dir():
        workspaces, model = [model], None
    folder = model or find_model(workspaces)
    failed = print_predictions(predict_files(folder, list(images)), as_json)
    if failed:
        sys.exit(3)


@cli.command()
@click.option("--image-size", default=224, show_default=True, metavar="N")
@click.option("--fine-tune-from", default="conv5_block1", show_default=True, metavar="LAYER|all")
@click.option("--classes", "num_classes", type=click.IntRange(2), default=2, show_default=True, help="How many.")
def model(image_size: int, fine_tune_from: str, num_classes: int) -> None:
    """Show the network as a table: which layers there are and which phase trains them."""
    from pipeline.config import load_config
    from pipeline.terminal import muted_imports

    load_config(None, {"data": "", "image_size": image_size, "fine_tune_from": fine_tune_from})  # checks them
    with muted_imports():
        from pipeline.network_table import print_network

    print_network(image_size, fine_tune_from, num_classes)


@cli.group()
def sample() -> None:
    """Write sample data as class folders."""


@sample.command()
@click.argument("folder", metavar="DIR")
def digits(folder: str) -> None:
    """The 1797 images of handwritten digits inside scikit-learn, 8x8 pixels, as PNG files in 10 folders."""
    from pipeline.sample import write_digits

    click.echo(f"{write_digits(folder)} images in {folder}\nNext: ./graft run --data {folder} --image-size 32")


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
def test(pytest_arguments: tuple[str, ...]) -> int:
    """Check the code: ruff, mypy, pytest. Arguments go to pytest."""
    commands = [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"], ["pytest", *pytest_arguments]]
    for command in commands:
        click.echo(f"$ {' '.join(command)}")
        status = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=False).returncode
        if status:
            return status
    return 0
