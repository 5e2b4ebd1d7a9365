"""`./graft embeddings`: shows the embedding store, or prunes it."""

import click

from pipeline.config.here import find_configured_workspace
from pipeline.console.printing import echo, make_console


@click.command(short_help="Show the stored embeddings, or drop those that are no longer used.")
@click.option("--out", metavar="DIR", help="Workspace.  [that of ./graft run here]")
@click.option("--prune", is_flag=True, help="Drop the rows that neither the newest run nor the live model has used.")
def embeddings(out: str | None, prune: bool) -> None:
    """Show the embedding store: what the frozen base makes of each image, kept from run to run.

    \b
    ./graft embeddings            size, and how many images did not have to be computed again
    ./graft embeddings --prune    after the window of dates moved on, or other weights
    """
    from rich.filesize import decimal

    from pipeline.workspace.embedding_store import print_store, prune_store
    from serving.process.muting import muted_stderr

    out = out or find_configured_workspace()
    if prune:
        with muted_stderr():
            pruned = prune_store(out)
        echo(f"Dropped {pruned.rows:,} rows, {decimal(pruned.freed)}.")
    print_store(out, make_console())
