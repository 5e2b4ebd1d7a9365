"""`./graft embeddings`: what the embedding store holds, how often it helped, and how to make it smaller."""

import dataclasses
import pathlib

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from components.example_gen.decode_cache import remove_outdated
from components.row_store.store import EmbeddingStore, list_keys, remove
from pipeline.code_digests import read_code_digests
from pipeline.console.printing import print_plain
from pipeline.workspace.manifest import EmbeddingUse
from pipeline.workspace.workspace import Workspace, open_workspace
from schema.errors import GraftError, UsageError
from serving.releases import versions
from serving.storage.listing import measure

_NOTHING = "There is nothing to see or to prune before a first run: ./graft run"


@dataclasses.dataclass(frozen=True)
class Pruned:
    """What went: rows, and bytes of the disk."""

    rows: int
    freed: int


def print_store(out: str, console: Console) -> None:
    """Prints a row for each kind of row, and the share of images that did not have to be computed.

    Args:
        out: the workspace.
        console: where to.
    Raises:
        UsageError: if it is no workspace.
    """
    workspace = _find_workspace(out)
    live = {name for _, use in _find_live_uses(workspace) for name in use.kinds}
    table = Table(box=None)
    for title in ("output of layer", "images", "size", "in use"):
        table.add_column(title, justify="left" if title in ("output of layer", "in use") else "right")
    for kind in list_keys(str(workspace.embeddings)):
        store = EmbeddingStore(str(workspace.embeddings), kind)
        used = "yes" if kind.name in live else "no; --prune removes it"
        table.add_row(kind.layer, f"{len(store.open()):,}", decimal(measure(store.folder)), used)
    print_plain(console, f"{workspace.embeddings}: {decimal(measure(str(workspace.embeddings)))}")
    console.print(table)
    for line in _hit_rates(workspace):
        print_plain(console, line)


def prune_store(out: str) -> Pruned:
    """Drops what neither the newest run nor the live model has used: other images, weights, sizes, blocks.

    Args:
        out: the workspace; nothing may run in it.
    Raises:
        UsageError: if it is no workspace.
        GraftError: if a run is at work there.
    """
    with open_workspace(str(_find_workspace(out).root)) as workspace:
        remove_outdated(str(workspace.decoded), read_code_digests().decoding)
        root = str(workspace.embeddings)
        before, rows = measure(root), 0
        live = _live_images(workspace)
        for kind in list_keys(root):
            if kind.name in live:
                rows += EmbeddingStore(root, kind).prune(live[kind.name])
            else:
                rows += len(EmbeddingStore(root, kind).open())
                remove(root, kind)
        return Pruned(rows, before - measure(root))


def _find_workspace(out: str) -> Workspace:
    workspace = Workspace(pathlib.Path(out).absolute())
    if not workspace.embeddings.is_dir():
        raise UsageError(f"{out}: no embedding store here. {_NOTHING}")
    return workspace


def _find_live_uses(workspace: Workspace) -> list[tuple[str, EmbeddingUse]]:
    """Returns id and embeddings of the newest run that embedded, and of the runs that made what is live.

    After a rollback, these are older runs.
    """
    found = [(m.run_id, m.embedding) for m in workspace.load_manifests() if m.embedding and m.embedding.kinds]
    live = [versions.find_live(str(folder)) for folder in workspace.model_dir("").glob("*") if folder.is_dir()]
    runs = {version.record.run_id for version in live if version}
    return [*found[-1:], *(use for use in found[:-1] if use[0] in runs)]


def _live_images(workspace: Workspace) -> dict[str, list[bytes]]:
    """Digests of the images in use, by kind of row.

    Raises:
        GraftError: if the artifacts that tell them are gone or damaged: then rows that are in use would be dropped.
    """
    live: dict[str, list[bytes]] = {}
    for run_id, use in _find_live_uses(workspace):
        digests = _read_digests(workspace, run_id, use)
        for name in use.kinds:
            live.setdefault(name, []).extend(digests)
    return live


def _read_digests(workspace: Workspace, run_id: str, use: EmbeddingUse) -> list[bytes]:
    """Reads the digests of the images that a run has embedded."""
    import tensorflow as tf  # takes seconds

    from components.embedder.artifact import read_rows
    from components.example_files import list_split

    splits = sorted((workspace.root / use.artifact).glob("Split-*")) if use.artifact else []
    try:
        digests = [row.digest for split in splits for file in list_split(str(split)) for row in read_rows(file)]
    except (GraftError, tf.errors.OpError, ValueError):
        splits = []
    # A file that is cut between two records, or within 12 bytes behind one, is whole for TensorFlow.
    if not splits or len(digests) != use.images:
        raise GraftError(
            f"{workspace.root}: nothing was dropped: which images are in use cannot be told, for the artifacts of the "
            f"run {run_id} are gone or damaged. Let ./graft run make them anew, then prune."
        )
    return digests


def _hit_rates(workspace: Workspace) -> list[str]:
    """Of the runs in which the Embedder had something to do."""
    runs = [
        manifest.embedding
        for manifest in workspace.load_manifests()
        if manifest.embedding and manifest.embedding.images and "Embedder" not in (manifest.cached or ())
    ]
    lines = []
    for name, chosen in (("newest run", runs[-1:]), (f"all {len(runs)} runs", runs if len(runs) > 1 else [])):
        images, computed = sum(use.images for use in chosen), sum(use.computed for use in chosen)
        if images:
            lines.append(f"Hit rate, {name}: {1 - computed / images:.1%} ({images - computed:,} of {images:,} images)")
    return lines
