"""`./graft tensorboard`: shows the training logs of a workspace in TensorBoard."""

import click

from pipeline.config.here import choose_workspace
from pipeline.console.printing import echo


@click.command(short_help="Show the curves of all runs in TensorBoard.")
@click.option("--out", metavar="DIR", help="Workspace.  [that of ./graft run here, or of the demo]")
@click.option("--port", default=6006, show_default=True, type=click.IntRange(1, 65535), help="Port to listen on.")
def tensorboard(out: str | None, port: int) -> int:
    """Start TensorBoard on the training logs of a workspace: both phases of each run, under the run's id.

    It listens on 127.0.0.1. Ctrl-C or SIGTERM ends it, with exit code 0.

    \b
    ./graft tensorboard
    ./graft tensorboard --out graft-demo --port 6007
    """
    from pipeline.local.tensorboard import serve_logs

    return serve_logs(out or choose_workspace(), port, echo)
