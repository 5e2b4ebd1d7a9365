"""Prints and prunes the embedding store of a workspace, for `./graft embeddings`."""

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
from schema.shares import write_percent
from serving.releases import versions
from serving.storage.listing import measure

_NOTHING = "The first run makes one: ./graft run"


@dataclasses.dataclass(frozen=True)
class Pruned:
    """Number of dropped rows, and of freed bytes."""

    rows: int
    freed: int


def print_store(out: str, console: Console) -> None:
    """Prints a row for each feature key, and the share of images that were in the store already.

    Args:
        out: folder of the workspace.
        console: console to print to.
    Raises:
        UsageError: if the folder has no embedding store.
    """
    workspace = _find_workspace(out)
    live = {name for _, use in _find_live_uses(workspace) for name in use.kinds}
    table = Table(box=None)
    for title in ("output of layer", "images", "size", "in use"):
        table.add_column(title, justify="left" if title in ("output of layer", "in use") else "right")
    for kind in list_keys(str(workspace.embeddings)):
        store = EmbeddingStore(str(workspace.embeddings), kind)
        used = "yes" if kind.name in live else "no; --prune removes it"
        table.add_row(kind.layer, f"{store.open().count_images():,}", decimal(measure(store.folder)), used)
    print_plain(console, f"{workspace.embeddings}: {decimal(measure(str(workspace.embeddings)))}")
    console.print(table)
    for line in _hit_rates(workspace):
        print_plain(console, line)


def prune_store(out: str) -> Pruned:
    """Drops the rows of images, weights, sizes and layers that neither the newest run nor the live model uses.

    Of an image with two rows, which two runs or a killed worker have added, one stays.

    Args:
        out: folder of the workspace.
    Raises:
        UsageError: if the folder has no embedding store.
        GraftError: if a run is active there.
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
    """Returns run id and embeddings of the newest run that embedded, and of the runs that made the live versions.

    After a rollback, the live version comes from an older run.
    """
    found = [(m.run_id, m.embedding) for m in workspace.load_manifests() if m.embedding and m.embedding.kinds]
    live = [versions.find_live(str(folder)) for folder in workspace.model_dir("").glob("*") if folder.is_dir()]
    runs = {version.record.run_id for version in live if version}
    return [*found[-1:], *(use for use in found[:-1] if use[0] in runs)]


def _live_images(workspace: Workspace) -> dict[str, list[bytes]]:
    """Returns the digests of the images in use, by name of the feature key.

    Raises:
        GraftError: if the artifacts with the digests are gone or damaged; without them used rows would be dropped.
    """
    live: dict[str, list[bytes]] = {}
    for run_id, use in _find_live_uses(workspace):
        digests = _read_digests(workspace, run_id, use)
        for name in use.kinds:
            live.setdefault(name, []).extend(digests)
    return live


def _read_digests(workspace: Workspace, run_id: str, use: EmbeddingUse) -> list[bytes]:
    """Reads the digests of a run's embedded images.

    Raises:
        GraftError: if an artifact is gone or damaged.
    """
    import tensorflow as tf  # takes seconds

    from components.embedder.artifact import read_rows
    from components.example_files import list_split

    splits = sorted((workspace.root / use.artifact).glob("Split-*")) if use.artifact else []
    try:
        digests = [row.digest for split in splits for file in list_split(str(split)) for row in read_rows(file)]
    except (GraftError, tf.errors.OpError, ValueError):
        splits = []
    # TensorFlow reports no error for a file cut between two records, or up to 12 bytes behind one.
    if not splits or len(digests) != use.images:
        raise GraftError(
            f"{workspace.root}: nothing was dropped: the images in use are unknown, because the artifacts of the run "
            f"{run_id} are gone or damaged. Let ./graft run make them again, then prune."
        )
    return digests


def _hit_rates(workspace: Workspace) -> list[str]:
    """Returns the hit rates of the store as lines, for the runs in which the Embedder was not cached."""
    runs = [
        manifest.embedding
        for manifest in workspace.load_manifests()
        if manifest.embedding and manifest.embedding.images and "Embedder" not in (manifest.cached or ())
    ]
    lines = []
    every = runs if len(runs) > 1 else []
    for name, chosen in (("newest run that embedded", runs[-1:]), (f"all {len(runs)} such runs", every)):
        images, computed = sum(use.images for use in chosen), sum(use.computed for use in chosen)
        if images:
            lines.append(
                f"Hit rate, {name}: {write_percent(1 - computed / images)} ({images - computed:,} of {images:,} images)"
            )
    return lines
