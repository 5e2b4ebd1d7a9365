"""`./graft predict`: names the classes of images."""

import pathlib
import sys

import click

from pipeline.config.here import choose_workspace, find_configured_workspace
from pipeline.console.printing import echo
from schema.errors import UsageError


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
    """Classify images; of a folder, all files below it.

    \b
    ./graft predict cat.jpg dog.jpg
    ./graft predict new/
    ./graft predict --json *.jpg --model graft-out/serving/graft
    ./graft predict cat.jpg --server grpc://localhost:8500 --label canary
    ./graft predict cat.jpg --run 20261126T101500-000Z-3f2a
    ./graft predict new/ --explain why/

    A SavedModel is code that runs here: name models of your own alone.
    """
    from components.example_gen.user_paths import list_paths
    from pipeline.console.terminal import quietly
    from serving.process.muting import muted_stderr

    if run_id:
        from pipeline.workspace.workspace import find_trained_model

        if model or server:
            raise click.UsageError("--run: expected neither --model nor --server beside it.")
        model = find_trained_model(out or find_configured_workspace(), run_id)
    elif out and (model or server):
        raise click.UsageError("--out: expected neither --model nor --server beside it.")

    paths = list_paths(images)
    overlays = None
    if explain:
        from pipeline.pictures.overlay_folder import OverlayFolder

        overlays = OverlayFolder(explain, images)
    with muted_stderr():
        from serving.client.predict import describe_model, find_model, find_version, predict_files, print_predictions
    if server:
        with muted_stderr():
            from serving.client.client import connect
        echo(f"Model: {model or 'graft'}{label and f', version labelled {label}'}, of the server", err=True)
        with connect(server, model or "graft", label) as client:
            predictions = client.predict(paths, explain=bool(overlays))
            failed = print_predictions(overlays.write_all(predictions) if overlays else predictions, as_json)
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
        predictions = quietly(predict_files(path, paths, explain=bool(overlays)))
        failed = print_predictions(overlays.write_all(predictions) if overlays else predictions, as_json)
    if overlays and overlays.has_one_cell:
        from serving.client.refusals import ONE_CELL

        echo(f"graft: --explain: no heat maps: {ONE_CELL}", err=True)
    if failed or (overlays and overlays.missing):
        sys.exit(3)
