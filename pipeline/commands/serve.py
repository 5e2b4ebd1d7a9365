"""`./graft serve`: starts a model server for a pushed model."""

import os

import click

from pipeline.config.here import choose_workspace
from pipeline.console.printing import echo


@click.command(short_help="Start a model server for the pushed versions.")
@click.option("--out", metavar="DIR", help="Workspace.  [that of ./graft run here, or of the demo]")
@click.option("--model", metavar="NAME", help="Name of the model.  [the only model]")
@click.option("--server", metavar="PATH", help="TensorFlow Serving's binary.  [tensorflow_model_server, if on PATH]")
@click.option("--docker", is_flag=True, help="TensorFlow Serving's image, in Docker.")
@click.option("--port", default=8500, show_default=True, type=click.IntRange(1, 65535), help="Port of gRPC.")
@click.option("--rest-port", default=8501, show_default=True, type=click.IntRange(1, 65535), help="Port of REST.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all networks.")
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
    from pipeline.local.model_server import Served
    from pipeline.local.model_server import serve as serve_model
    from pipeline.workspace.pushed_models import find_model_dir
    from serving.storage.wildcards import check_plain

    if server and docker:
        raise click.UsageError("--server and --docker at once; one of them.")
    if port == rest_port:
        raise click.UsageError("--port and --rest-port are the same; gRPC and REST need one each.")
    model_dir = os.path.abspath(find_model_dir(out or choose_workspace(), model))
    check_plain(model_dir, "out", "Rename that folder, or copy the workspace elsewhere.")
    served = Served(model_dir, host, port, rest_port, batching)
    return serve_model(served, server, docker, echo)
