"""`./graft predict`: names the classes of images."""

import contextlib
import pathlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from pipeline.config.here import choose_workspace, find_configured_workspace
from pipeline.console.printing import echo
from schema.errors import UsageError

if TYPE_CHECKING:
    from pipeline.pictures.overlay_folder import OverlayFolder
    from serving.client.predict import Prediction


@click.command(short_help="Classify images.")
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
@click.option("--explain", metavar="DIR", help="Write each image with a heat map of what speaks for its class.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per image and line.")
def predict(
    images: tuple[str, ...],
    model: str | None,
    run_id: str | None,
    out: str | None,
    server: str | None,
    label: str,
    explain: str | None,
    as_json: bool,
) -> None:
    """Classify images; of a folder, all files below it but hidden and side files.

    \b
    ./graft predict cat.jpg dog.jpg
    ./graft predict new/
    ./graft predict --json *.jpg --model graft-out/serving/graft
    ./graft predict cat.jpg --server grpc://localhost:8500 --label canary
    ./graft predict cat.jpg --run 20261126T101500-000Z-3f2a
    ./graft predict new/ --explain why/

    A SavedModel is code that runs here: name models of your own alone.
    """
    from components.example_gen.ignored import describe
    from components.example_gen.user_paths import list_paths
    from serving.process.muting import muted_stderr

    _check_options(model, run_id, out, server, label)
    paths, ignored = list_paths(images)
    if ignored:
        echo(f"Ignored: {', '.join(describe(ignored))}", err=True)
    with _open_overlays(explain, images) as overlays:
        with muted_stderr():
            from pipeline.pictures.foreign_formats import ForeignFormats
            from serving.client.predict import print_predictions
        if server:
            predictions = _ask_server(server, model or "graft", label, paths, explain=bool(overlays))
        else:
            predictions = _ask_model(*_find_model(model, run_id, out), paths, explain=bool(overlays))
        formats = ForeignFormats(images)
        predictions = formats.name_all(predictions)
        failed = print_predictions(overlays.write_all(predictions) if overlays else predictions, as_json)
    if advice := formats.suggest_conversion():
        echo(f"graft: {advice}", err=True)
    if overlays and overlays.coarse:
        echo(f"Note: {overlays.coarse}", err=True)
    if failed or (overlays and overlays.missing):
        sys.exit(3)


def _check_options(model: str | None, run_id: str | None, out: str | None, server: str | None, label: str) -> None:
    if (run_id or out) and (model or server):
        raise click.UsageError(f"{'--run' if run_id else '--out'}: expected neither --model nor --server beside it.")
    if label and not server:
        raise click.UsageError("--label goes with --server: a server knows which version has which label.")


def _open_overlays(
    explain: str | None, images: tuple[str, ...]
) -> "contextlib.AbstractContextManager[OverlayFolder | None]":
    if not explain:
        return contextlib.nullcontext()
    from pipeline.pictures.overlay_folder import OverlayFolder

    return OverlayFolder(explain, images)


def _ask_server(server: str, name: str, label: str, paths: list[str], explain: bool) -> "Iterator[Prediction]":
    """Names the version that answers, and yields the predictions of a server."""
    from serving.client.addresses import without_password
    from serving.process.muting import muted_stderr

    with muted_stderr():
        from serving.client.client import ask_version, connect
    with connect(server, name, label) as client:
        labelled = f", labelled {label}" if label else ""
        version = ask_version(client)
        echo(f"Model: {name}, version {version}{labelled}, of the server at {without_password(server)}", err=True)
        yield from client.predict(paths, explain)


def _ask_model(path: str, described: str, paths: list[str], explain: bool) -> "Iterator[Prediction]":
    """Names the version that answers, and yields the predictions of a model in this process."""
    from pipeline.console.terminal import quietly
    from serving.client.predict import predict_files

    echo(described, err=True)
    yield from quietly(predict_files(path, paths, explain))


def _find_model(model: str | None, run_id: str | None, out: str | None) -> tuple[str, str]:
    """Returns the folder of the model that the options name, or of the newest pushed one, and a line that names it.

    Raises:
        UsageError: if there is none.
    """
    from serving.client.predict import describe_model, find_version

    if run_id:
        from pipeline.workspace.pushed_models import describe_run_model
        from pipeline.workspace.workspace import Workspace, find_trained_model

        workspace = out or find_configured_workspace()
        path = find_trained_model(workspace, run_id)
        return path, describe_run_model(Workspace(pathlib.Path(workspace)), run_id)
    if not model or (pathlib.Path(model) / "serving").is_dir():
        model = _find_pushed(model or out)
    path = find_version(model)
    return path, describe_model(path)


def _find_pushed(out: str | None) -> str:
    """Returns the folder of the newest pushed version of a workspace.

    Raises:
        UsageError: if there is none; with the reason of the last run.
    """
    from pipeline.workspace.workspace import describe_last_run
    from serving.client.predict import find_model

    workspace = out or choose_workspace()
    try:
        return find_model(workspace)
    except UsageError as error:
        raise UsageError(f"{error}{describe_last_run(workspace)}") from None
