"""`./graft repair`: moves TFX's database and artifacts aside."""

import click

from pipeline.config.here import find_configured_workspace
from pipeline.console.printing import echo


@click.command(
    "repair", short_help="Move a damaged database and its artifacts aside, so that the next run begins anew."
)
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
