"""Writes the page of a comparison: one file without scripts and network requests."""

import pathlib

from components.records.comparison import Comparison, Flip, Neighbour
from pipeline.compare import wording
from pipeline.compare.sides import Side
from pipeline.report.environment import list_paths, make_environment
from pipeline.report.thumbnails import Thumbnail, Thumbnails
from pipeline.workspace.workspace import Workspace
from schema.errors import UsageError
from schema.version import VERSION
from serving.storage.gfile import is_remote
from serving.storage.whole_files import name_temporary, write_whole

_MEGAPIXELS = 100.0  # limit for a run whose configuration has none
_MOST_ADDED = 12  # pictures of added images


def name_page(workspace: Workspace, before: Side, now: Side) -> pathlib.Path:
    """Returns the default path of the page, in the folder of B's run, or of A's if B has none.

    Raises:
        UsageError: if both runs are gone.
    """
    for side, other in ((now, before), (before, now)):
        if side.run_id:
            return workspace.runs / side.run_id / f"compare-{other.run_id or other.version}.html"
    raise UsageError("--open: the runs of both versions are gone. Name a file for the page with --page.")


def write_page(workspace: Workspace, before: Side, now: Side, comparison: Comparison, target: pathlib.Path) -> None:
    """Writes the page of a comparison.

    Raises:
        UsageError: if the file cannot be written.
    """
    page = render(workspace, before, now, comparison)
    try:
        with write_whole(str(target), name_temporary(str(target))) as path:
            pathlib.Path(path).write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{target}: cannot be written: {error.strerror}. Name another file with --page.") from None


def render(workspace: Workspace, before: Side, now: Side, comparison: Comparison) -> str:
    """Returns the HTML of the page."""
    data = now.config.data
    folder = "" if is_remote(data) else data
    thumbnails = Thumbnails(folder, now.config.max_megapixels or _MEGAPIXELS)
    context = {
        "comparison": comparison,
        "words": wording,
        "flips": [_show(thumbnails, flip) for flip in comparison.flips],
        "added": [
            (image, thumbnails.make(image.path, image.digest)) for image in comparison.data.some_added[:_MOST_ADDED]
        ],
        "version": VERSION,
    }
    environment = make_environment(list_paths(workspace, before.manifest, now.manifest))
    return environment.get_template("compare.html").render(context)


def _show(thumbnails: Thumbnails, flip: Flip) -> tuple[Flip, Thumbnail, list[tuple[Neighbour, Thumbnail]]]:
    """Returns an image with its picture, and its neighbours with theirs."""
    nearest = [(near, thumbnails.make(near.path, near.digest)) for near in flip.nearest]
    return flip, thumbnails.make(flip.path, flip.digest), nearest
