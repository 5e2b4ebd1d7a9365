"""The command line. Each command imports what it needs and no more: TensorFlow takes seconds, TFX more."""

import logging
import os
import pathlib
import signal
import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from pipeline import CONFIG_FILE
from pipeline.config.here import DEMO_OUT, choose_workspace, find_config, find_configured_workspace
from pipeline.console.ending import Interrupts, end_at_once, interruptible
from pipeline.console.printing import echo, echo_json, find_command, make_console, print_error, print_usage_error
from schema.errors import DataError, GraftError, UsageError
from schema.text import quote
from schema.version import VERSION
from serving.process.output import make_streams_safe
from serving.storage.gfile import set_defaults

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.check.check import Findings
    from pipeline.config.config import Config

_SAMPLE = 200  # images that init reads: some seconds


def _describe_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if not value:
        return
    import importlib.metadata
    import platform

    libraries = ("tfx", "tensorflow", "keras", "apache-beam")
    stack = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in libraries)
    echo(f"Graft {VERSION} (Python {platform.python_version()}, {stack})")
    ctx.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_describe_version, help="Show versions."
)
def cli() -> None:
    """Graft turns a folder of labelled images into a served classifier.

    \b
    ./graft demo               the whole of it, on real digits
    ./graft check photos/      what a run would make of it
    ./graft convert in/ out/   HEIC, WebP, TIFF become JPEG
    ./graft init photos/       write a commented graft.toml
    ./graft run photos/        photos/cats/*.jpg, photos/dogs/
    ./graft predict one.jpg    ask the newest pushed model
    ./graft serve              a server, as TensorFlow Serving
    ./graft kubeflow           the same on Kubeflow Pipelines
    """


def main() -> None:
    """Runs the command line; what a user can cause ends in one message, not in a traceback."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    set_defaults()
    make_streams_safe()
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns of a home that cannot be written, and goes on
    warnings.filterwarnings("ignore", message="You are using a non-supported Python version", category=FutureWarning)
    arguments, sys.argv = sys.argv[1:], sys.argv[:1]  # absl, inside TFX, would parse them once more
    with interruptible() as interrupts:
        status = _call(arguments, interrupts)
    sys.exit(status)


def _call(arguments: list[str], interrupts: Interrupts) -> int:
    """Calls a command; returns its exit code."""
    try:
        try:
            interrupts.raises = True
            status = cli.main(arguments, prog_name=find_command(), standalone_mode=False)
        finally:
            interrupts.raises = False
            if interrupts.received:  # whatever a library has made of it
                end_at_once(128 + signal.SIGINT)
        return status if isinstance(status, int) else 0
    except click.ClickException as error:
        print_usage_error(error)
        return UsageError.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 128 + signal.SIGINT
    except GraftError as error:
        print_error(error)
        return error.exit_code


class ConfiguredCommand(click.Command):
    """A command with an option for each key of the configuration; made when needed, for pydantic takes time, too."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's own options and those of the configuration."""
        from pipeline.config.options import make_options

        return [*self._get_own(ctx), *make_options()]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the options under the headings of the configuration, but for those of Beam, which few need."""
        from pipeline.config.options import write_options

        write_options(self._get_own(ctx), ctx, formatter)

    def describe_beam_options(self, ctx: click.Context) -> str:
        """Returns the help of the options of Beam."""
        from pipeline.config.options import write_beam_options

        formatter = ctx.make_formatter()
        write_beam_options(formatter)
        return formatter.getvalue().rstrip("\n")

    def _get_own(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), _HELP_BEAM]


def _print_beam_options(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and isinstance(ctx.command, ConfiguredCommand):
        echo(*ctx.command.describe_beam_options(ctx).split("\n"))
        ctx.exit()


_HELP_BEAM = click.Option(
    ["--help-beam"],
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_beam_options,
    help="Show the options of Apache Beam: other runners, workers, Dataflow.",
)


def _output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    quiet = click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
    verbose = click.option("-v", "--verbose", is_flag=True, help="Show what TFX, Beam and TensorFlow say.")
    as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end, nothing else.")
    return quiet(verbose(as_json(command)))


@cli.command(short_help="Look at a folder, and write a commented graft.toml.")
@click.argument("data", required=False, metavar="[DATA]")
@click.option("--config", "file", default=CONFIG_FILE, show_default=True, metavar="FILE", help="Where to write it.")
@click.option("--minimal", is_flag=True, help="Write only what must be set.")
def init(data: str | None, file: str, minimal: bool) -> None:
    """Write a graft.toml with everything that can be set, as comments; of DATA, look at a sample of its images first.

    \b
    ./graft init photos/              then: ./graft run
    ./graft init --config night.toml  then: ./graft run --config night.toml
    """
    from pipeline.commands.init import check_new, describe_next, write_template

    console = make_console()
    check_new(file)
    classes: tuple[str, ...] = ()
    if data:
        from pipeline.check.report import print_findings
        from pipeline.config.load import load_config

        config = load_config(None, {"data": data})
        findings = _inspect(config, console, sample=_SAMPLE)
        if findings.problems:
            raise DataError(*findings.problems)
        classes = findings.listing.labels
        print_findings(findings, config, console)
    write_template(file, data, classes, minimal)
    echo(*describe_next(file, data))


@cli.command(short_help="Say what a run would make of a folder.")
@click.argument("data", required=False, metavar="[DATA]")
@click.option("--config", "file", metavar="FILE", help=f"TOML file.  [{CONFIG_FILE}, if it is there]")
@click.option("--sample", type=click.IntRange(1), metavar="N", help="Read N images, spread over all.  [all]")
@click.option("--follow-links", is_flag=True, default=None, help="Follow links that lead out of the folder.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(data: str | None, file: str | None, sample: int | None, follow_links: bool | None, as_json: bool) -> int:
    """Read a folder as a run would, and say what a run would make of it. Writes nothing.

    Classes and splits, what would be left out and why, what is ignored, sizes of the images, disk. The exit code is 3
    where a run would stop.

    \b
    ./graft check photos/
    ./graft check --sample 1000 photos/
    ./graft check                         the folder in graft.toml
    """
    from pipeline.config.load import load_config

    file = file or find_config()
    config = load_config(file, {"data": data, "follow_links": follow_links})
    console = make_console(quiet=as_json)
    findings = _inspect(config, console, sample or 0)
    from pipeline.check.report import make_next_command, print_findings, print_verdict, render_json

    if as_json:
        echo_json(render_json(findings))
    else:
        print_findings(findings, config, console)
        print_verdict(findings, make_next_command(data, file, CONFIG_FILE, follow_links), console)
    return DataError.exit_code if findings.problems else 0


def _inspect(config: "Config", console: "Console", sample: int) -> "Findings":
    """Reads a folder with a bar on a terminal. A wrong folder is known at once, before TensorFlow is imported."""
    from components import progress
    from components.example_gen.layout import list_images
    from pipeline.console.terminal import muted_stderr
    from pipeline.local.progress_display import ProgressDisplay

    listing = list_images(config.data, config.window_end_text, config.window_days or 0, config.follow_links)
    display = ProgressDisplay(console)
    with muted_stderr(), display, progress.listen(display.update):  # libjpeg speaks of damaged images itself
        display.start("Reading")
        from pipeline.check.check import inspect

        return inspect(config, listing, sample)


@cli.command(cls=ConfiguredCommand, short_help="Train on a folder of images, evaluate, and push.")
@click.argument("folder", required=False, metavar="[DATA]")
@click.option(
    "--config", "file", metavar="FILE", help=f"TOML file; options override it.  [{CONFIG_FILE}, if it is there]"
)
@click.option("--print-config", is_flag=True, help="Show what is in effect and where it comes from, and do no more.")
@click.option(
    "--require-push",
    is_flag=True,
    help="Exit with 4 unless the model of this run is live in the end (or, with --canary, the canary).",
)
@_output_options
def run(
    folder: str | None,
    file: str | None,
    print_config: bool,
    require_push: bool,
    quiet: bool,
    verbose: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train on a folder of images, evaluate, and push.

    \b
    ./graft run photos/
    ./graft run photos/ --weights random --fine-tune-epochs 0
    ./graft run photos/ --class-weights balanced
    ./graft run daily/ --window-days 30     date folders: daily/2026-11-23/cats/
    ./graft run --quiet --require-push      from cron, with a graft.toml
    """
    from pipeline.config.load import load_with_sources

    file = file or find_config()
    names = {name.replace("__", "."): value for name, value in options.items()}
    names["data"] = names["data"] or folder
    config, sources = load_with_sources(file, names)
    if print_config:
        from pipeline.config.reference import render_effective, render_effective_json

        if as_json:
            echo_json(render_effective_json(config, sources))
        else:
            echo(*render_effective(config, sources).split("\n"))
        return
    from pipeline.commands.session import Output, run_session

    sys.exit(run_session(config, file, Output(quiet, verbose, as_json), require_push))


@cli.command(short_help="Run the whole pipeline on real images, in a few minutes.")
@click.option("--out", default=DEMO_OUT, show_default=True, metavar="DIR", help="Workspace.")
@_output_options
def demo(out: str, quiet: bool, verbose: bool, as_json: bool) -> None:
    """Run the whole pipeline on real images of digits, in a few minutes.

    The 1797 images ship with scikit-learn. With ImageNet weights if they can be had, else with random ones.

    \b
    ./graft demo
    ./graft demo --out /tmp/demo --verbose
    """
    from pipeline.commands.demo import make_config
    from pipeline.commands.session import Output, run_session

    config = make_config(out, lambda line: echo(line, err=quiet or as_json))
    sys.exit(run_session(config, None, Output(quiet, verbose, as_json)))


@cli.command(short_help="Turn HEIC, WebP, AVIF, TIFF and others into JPEG.")
@click.argument("folder", metavar="DIR")
@click.argument("out", metavar="OUT")
@click.option(
    "--max-megapixels",
    default=100.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    metavar="N",
    help="Leave out larger images, as a run does.",
)
@click.option("--follow-links", is_flag=True, help="Follow links that lead out of DIR.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the summary.")
def convert(folder: str, out: str, max_megapixels: float, follow_links: bool, as_json: bool) -> None:
    """Copy a folder of images to OUT, so that a run can read all of them.

    HEIC, WebP, AVIF, TIFF, JPEG 2000 and Netpbm become JPEG: upright, in sRGB, without metadata. JPEG, PNG, GIF and
    BMP are copied as they are; a JPEG with an EXIF orientation is written upright. The first bytes of a file decide,
    not its name. What cannot be converted is listed and left out, and the exit code is 3.

    OUT may be there. No file in it is overwritten. A file with the modification time of its source counts as
    written, so the same command again does only what is missing. Any other file in the place of a new one stays, and
    its source is listed as left out: remove the file to convert the source again.

    \b
    ./graft convert photos/ photos-jpeg/     then: ./graft run photos-jpeg/
    """
    from pipeline.convert.convert import convert_folder
    from pipeline.convert.summary import print_summary

    summary = convert_folder(folder, out, max_megapixels, follow_links)
    print_summary(summary, as_json)
    if summary.problems:
        sys.exit(3)


@cli.command(short_help="Say what is on images.")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE|FOLDER...")
@click.option(
    "--model",
    metavar="DIR",
    help="Folder of a version, of versions, or a workspace; of a server the model's name.  [the newest pushed model]",
)
@click.option("--run", "run_id", metavar="RUN", help="Ask the model of a run, pushed or not; a folder below runs/.")
@click.option("--out", metavar="DIR", help="Workspace.  [that of ./graft run here, or of the demo]")
@click.option("--server", metavar="URL", help="Ask a model server: grpc://HOST:8500 or http://HOST:8501.")
@click.option("--label", default="", metavar="NAME", help="With --server: ask the version with this label.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per image and line.")
def predict(
    images: tuple[str, ...],
    model: str | None,
    run_id: str | None,
    out: str | None,
    server: str | None,
    label: str,
    as_json: bool,
) -> None:
    """Say what is on images; of a folder, on all files below it.

    \b
    ./graft predict cat.jpg dog.jpg
    ./graft predict new/
    ./graft predict --json *.jpg --model graft-out/serving/graft
    ./graft predict cat.jpg --server grpc://localhost:8500 --label canary
    ./graft predict cat.jpg --run 20261126T101500-000Z-3f2a

    A SavedModel is code that runs here: name models of your own alone.
    """
    from components.example_gen.layout import list_paths
    from pipeline.console.terminal import muted_stderr, quietly

    if run_id:
        from pipeline.workspace.workspace import find_trained_model

        if model or server:
            raise click.UsageError("--run: expected neither --model nor --server beside it.")
        model = find_trained_model(out or find_configured_workspace(), run_id)
    elif out and (model or server):
        raise click.UsageError("--out: expected neither --model nor --server beside it.")

    paths = list_paths(images)
    with muted_stderr():
        from serving.client.predict import describe_model, find_model, find_version, predict_files, print_predictions
    if server:
        with muted_stderr():
            from serving.client.client import connect
        echo(f"Model: {model or 'graft'}{label and f', version labelled {label}'}, of the server", err=True)
        with connect(server, model or "graft", label) as client:
            failed = print_predictions(client.predict(paths), as_json)
    elif label:
        raise click.UsageError("--label goes with --server: a server knows which version has which label.")
    else:
        if not model or (pathlib.Path(model) / "serving").is_dir():
            from pipeline.workspace.workspace import describe_last_run

            workspace = model or out or choose_workspace()
            try:
                model = find_model(workspace)
            except UsageError as error:
                raise UsageError(f"{error}{describe_last_run(workspace)}") from None
        path = find_version(model)
        echo(describe_model(path), err=True)
        failed = print_predictions(quietly(predict_files(path, paths)), as_json)
    if failed:
        sys.exit(3)


@cli.command(short_help="Start a model server for what was pushed.")
@click.option("--out", metavar="DIR", help="Workspace.  [that of ./graft run here, or of the demo]")
@click.option("--model", metavar="NAME", help="Which model.  [the only one there is]")
@click.option("--server", metavar="PATH", help="TensorFlow Serving's binary.  [tensorflow_model_server, if on PATH]")
@click.option("--docker", is_flag=True, help="TensorFlow Serving's image, in Docker.")
@click.option("--port", default=8500, show_default=True, type=click.IntRange(1, 65535), help="Of gRPC.")
@click.option("--rest-port", default=8501, show_default=True, type=click.IntRange(1, 65535), help="Of REST.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; 0.0.0.0 for every network.")
@click.option("--batching", is_flag=True, help="Compute requests that arrive together in one batch.")
def serve(
    out: str | None,
    model: str | None,
    server: str | None,
    docker: bool,
    port: int,
    rest_port: int,
    host: str,
    batching: bool,
) -> int:
    """Start a model server: TensorFlow Serving's if it is on PATH, else the built-in one with the same API.

    It follows what is pushed, rolled back and promoted. Ctrl-C or SIGTERM ends it within 3 s, with
    exit code 0; a second Ctrl-C ends it at once.

    A SavedModel is code that runs in the server: serve models of your own alone. Any client of the gRPC port may have
    the server load another one, so keep that port among machines that you trust.

    \b
    ./graft serve
    ./graft serve --docker
    ./graft serve --out graft-demo --port 9500 --rest-port 9501
    """
    from pipeline.commands.releases import find_model_dir
    from pipeline.commands.serve import Served
    from pipeline.commands.serve import serve as serve_model
    from serving.storage.wildcards import check_plain

    if server and docker:
        raise click.UsageError("--server and --docker at once; one of them.")
    if port == rest_port:
        raise click.UsageError("--port and --rest-port are the same; gRPC and REST need one each.")
    model_dir = os.path.abspath(find_model_dir(out or choose_workspace(), model))
    check_plain(model_dir, "out", "Rename that folder, or copy the workspace elsewhere.")
    served = Served(model_dir, host, port, rest_port, batching)
    return serve_model(served, server, docker, echo)


@cli.command(short_help="Show the curves of all runs in TensorBoard.")
@click.option("--out", metavar="DIR", help="Workspace.  [that of ./graft run here, or of the demo]")
@click.option("--port", default=6006, show_default=True, type=click.IntRange(1, 65535), help="Where to listen.")
def tensorboard(out: str | None, port: int) -> int:
    """Start TensorBoard on the training logs of a workspace: both phases of each run, under the run's id.

    It listens on 127.0.0.1. Ctrl-C or SIGTERM ends it, with exit code 0.

    \b
    ./graft tensorboard
    ./graft tensorboard --out graft-demo --port 6007
    """
    from pipeline.commands.tensorboard import serve_logs

    return serve_logs(out or choose_workspace(), port, echo)


@cli.command(short_help="Show the network as a table.")
@click.option("--image-size", type=int, metavar="N")
@click.option("--fine-tune-from", metavar="LAYER|all")
@click.option("--classes", "num_classes", type=click.IntRange(2), metavar="N", help="How many.")
def model(image_size: int | None, fine_tune_from: str | None, num_classes: int | None) -> None:
    """Show the network as a table: which layers there are and which phase trains them.

    As graft.toml has it, if there is one here; else with the defaults, for two classes.

    \b
    ./graft model
    ./graft model --fine-tune-from conv4 --classes 10
    """
    from pipeline.config.load import load_config
    from pipeline.console.terminal import muted_stderr

    options = {"data": os.devnull, "image_size": image_size, "fine_tune_from": fine_tune_from}
    config = load_config(find_config(), options)
    with muted_stderr():
        from pipeline.commands.network_table import print_network

    print_network(config, num_classes or len(config.classes or ("one", "another")))


@cli.command(short_help="Show what is kept of each image, or drop what is no longer used.")
@click.option("--out", metavar="DIR", help="Workspace.  [that of ./graft run here]")
@click.option("--prune", is_flag=True, help="Drop what neither the newest run nor the live model has used.")
def embeddings(out: str | None, prune: bool) -> None:
    """Show the embedding store: what the frozen base makes of each image, kept from run to run.

    \b
    ./graft embeddings            size, and how many images did not have to be computed again
    ./graft embeddings --prune    after the window of dates moved on, or other weights
    """
    from rich.filesize import decimal

    from pipeline.commands.embeddings import print_store, prune_store
    from pipeline.console.terminal import muted_stderr

    out = out or find_configured_workspace()
    if prune:
        with muted_stderr():
            pruned = prune_store(out)
        echo(f"Dropped {pruned.rows:,} rows, {decimal(pruned.freed)}.")
    print_store(out, make_console())


@cli.command("repair", short_help="Move aside what a run cannot read any more, and begin anew.")
@click.option("--out", metavar="DIR", help="Workspace.  [that of ./graft run here]")
def repair_workspace(out: str | None) -> None:
    """Move the database of a workspace and TFX's artifacts to a folder lost-... in it; the next run begins anew.

    For where a run says that `metadata.sqlite` or an artifact is damaged. Deletes nothing and asks nothing. What was
    pushed stays live, embeddings and the runs' reports stay where they are.

    \b
    ./graft repair
    ./graft repair --out graft-demo
    """
    from pipeline.workspace.repair import describe, repair

    echo(*describe(repair(out or find_configured_workspace())))


class _ListByDefault(click.Group):
    """A group that lists where it is told to do nothing else."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Puts `list` before options of it."""
        first = args[0] if args else ""
        listing = not args or (first.startswith("-") and first not in ctx.help_option_names)
        return super().parse_args(ctx, ["list", *args] if listing else args)


def _model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    out = click.option("--out", metavar="DIR", help="Workspace.  [that of ./graft run here, or of the demo]")
    model = click.option("--model", metavar="NAME", help="Which model.  [the only one there is]")
    return out(model(command))


@cli.group(cls=_ListByDefault, short_help="Show what was pushed; roll back, promote, prune.")
def releases() -> None:
    """Show what was pushed, and choose which version is live.

    \b
    ./graft releases             list the versions: live, canary, older, withdrawn
    ./graft releases rollback    withdraw the live version; the one before it is live
    ./graft releases promote     make the canary live

    A TensorFlow Serving that watches the folder follows by itself.
    """


@releases.command("list", short_help="List the versions; what ./graft releases does by itself.")
@_model_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_releases(out: str | None, model: str | None, as_json: bool) -> None:
    """List the versions: state, time of the push, accuracy on test, run, size.

    \b
    ./graft releases list
    ./graft releases list --json --model graft
    """
    from pipeline.commands.releases import find_model_dir, print_releases, render_json

    model_dir = find_model_dir(out or choose_workspace(), model)
    if as_json:
        echo_json(render_json(model_dir))
    else:
        print_releases(model_dir, make_console())


@releases.command(short_help="Withdraw the live version, or the canary.")
@_model_options
@click.option("--canary", is_flag=True, help="Withdraw the canary; what is live is live.")
def rollback(out: str | None, model: str | None, canary: bool) -> None:
    """Withdraw the live version; the one before it is live. A canary stays the canary.

    A withdrawn version stays in the folder, and the same model is not pushed again.

    \b
    ./graft releases rollback
    ./graft releases rollback --canary    end the trial
    """
    from pipeline.commands.releases import change, describe_state
    from serving.releases.releases import roll_back, withdraw_canary

    with change(out or choose_workspace(), model) as model_dir:
        withdrawn = withdraw_canary(model_dir) if canary else roll_back(model_dir)
        echo(f"Withdrawn: {withdrawn.path}", *describe_state(model_dir))


@releases.command(short_help="Make the canary live, or another version.")
@_model_options
@click.argument("version", required=False, metavar="[VERSION]")
def promote(out: str | None, model: str | None, version: str | None) -> None:
    """Make the canary live; or an older version, or one that was withdrawn. It gets the next number.

    VERSION is a number, or the folder that `./graft releases rollback` has printed.

    \b
    ./graft releases promote
    ./graft releases promote 1795612102
    ./graft releases promote graft-out/serving/graft/withdrawn-1795612102
    """
    from pipeline.commands.releases import change, describe_state, read_number
    from serving.releases.releases import promote as promote_version

    with change(out or choose_workspace(), model) as model_dir:
        promote_version(model_dir, read_number(version, model_dir) if version else None)
        echo(*describe_state(model_dir))


@releases.command(short_help="Remove old versions.")
@_model_options
@click.argument("count", type=click.IntRange(1), metavar="N")
def keep(out: str | None, model: str | None, count: int) -> None:
    """Remove old versions so that N are left, and of the withdrawn ones N at the most.

    The live version, the canary, and with 2 or more the version before the live one are never removed.

    \b
    ./graft releases keep 3
    """
    from pipeline.commands.releases import change, describe_state
    from serving.releases.releases import keep as keep_versions

    with change(out or choose_workspace(), model) as model_dir:
        removed = ", ".join(map(str, keep_versions(model_dir, count))) or "none"
        echo(f"Removed:   {removed}", *describe_state(model_dir))


@cli.group()
def sample() -> None:
    """Write sample data as class folders."""


@sample.command(short_help="1797 images of handwritten digits, inside scikit-learn.")
@click.argument("folder", metavar="DIR")
def digits(folder: str) -> None:
    """The 1797 images of handwritten digits inside scikit-learn, 8x8 pixels, as PNG files in 10 folders.

    \b
    ./graft sample digits digits/
    """
    from pipeline.downloads.sample import write_digits

    echo(f"{write_digits(folder)} images in {folder}")
    echo(f"Next:     ./graft run {quote(folder)} --image-size 32")


@sample.command("cats-and-dogs", short_help="3000 photographs of cats and dogs.")
@click.argument("folder", metavar="DIR")
def cats_and_dogs(folder: str) -> None:
    """3000 photographs of cats and dogs: the filtered archive that many tutorials use (68 MB, downloaded once).

    \b
    ./graft sample cats-and-dogs photos/
    """
    from pipeline.downloads.sample import write_cats_and_dogs

    echo(f"{write_cats_and_dogs(folder)} images in {folder}")
    echo(f"Next:     ./graft run {quote(folder)}")


@cli.command(context_settings={"ignore_unknown_options": True})
@click.option("--quick", is_flag=True, help="Leave out what runs pipelines and servers: an answer in 2 minutes.")
@click.option("--all", "everything", is_flag=True, help="Add the long forms of some tests.")
@click.option("--coverage", is_flag=True, help="Measure branch coverage, and print it by folder.")
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
def test(quick: bool, everything: bool, coverage: bool, pytest_arguments: tuple[str, ...]) -> int:
    """Check the code: ruff, mypy, pytest. Arguments go to pytest.

    \b
    ./graft test
    ./graft test --quick
    ./graft test tests/components -k gate
    ./graft test -n 0 --pdb tests/schema    one process, and a debugger where it fails
    """
    from pipeline.commands import checks

    if quick and everything:
        raise click.UsageError("--quick and --all: expected one of them, got both.")
    selection = checks.QUICK if quick else checks.ALL if everything else checks.NORMAL
    return checks.run_checks(selection, coverage, pytest_arguments)
