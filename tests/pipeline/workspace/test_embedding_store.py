"""The runs whose rows the embedding store keeps."""

import json

import numpy as np
import pytest
from manifests import make_use, write_manifest

from components.row_store.shards import FeatureKey
from components.row_store.store import EmbeddingStore
from pipeline.workspace.embedding_store import _find_live_uses, prune_store
from pipeline.workspace.workspace import Workspace
from schema.errors import GraftError


def write_run(root, run_id):
    write_manifest(root, run_id, embedding=make_use(kinds=["embedding-1"]))


def write_version(root, number, run_id):
    extra = root / f"serving/graft/{number}/assets.extra"
    extra.mkdir(parents=True)
    (extra / "graft.json").write_text(json.dumps({"run_id": run_id}))
    (root / f"serving/graft/{number}/saved_model.pb").write_bytes(b"graph")


def test_it_is_kept_for_the_newest_run_and_for_what_is_live(tmp_path):
    """After a rollback, the live version is not of the last run that pushed."""
    for run_id in ("run-1", "run-2", "run-3"):
        write_run(tmp_path, run_id)
    write_version(tmp_path, 1, "run-1")
    write_version(tmp_path, 2, "run-2")

    def kept():
        return sorted(run_id for run_id, _ in _find_live_uses(Workspace(tmp_path)))

    assert kept() == ["run-2", "run-3"]
    (tmp_path / "serving/graft/2").rename(tmp_path / "serving/graft/withdrawn-2")
    assert kept() == ["run-1", "run-3"]
    write_version(tmp_path, 3, "run-3")
    assert kept() == ["run-3"]


FILE = "Split-train/data_tfrecord-00000-of-00001"
LEFT = {"gone": {}, "foreign": {"Split-train/other": b""}, "torn": {FILE: bytes(99)}, "cut": {FILE: b""}}


@pytest.mark.parametrize("left", LEFT.values(), ids=LEFT)
def test_nothing_is_dropped_where_the_images_in_use_are_not_known(tmp_path, left):
    """The artifacts of the newest run are gone, foreign or torn: the rows may be those of its images."""
    kind = FeatureKey("embedding", "weights", "graph", (4,), "float32")
    store = EmbeddingStore(str(tmp_path / "embeddings"), kind)
    with store.append() as append:
        append([b"1" * 32], np.zeros((1, 4), np.float32))
    folder = tmp_path / "pipeline/Embedder/embeddings/8"
    for name, content in left.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(content)
    write_manifest(tmp_path, "run-1", embedding=make_use(kinds=[kind.name], artifact=str(folder.relative_to(tmp_path))))
    with pytest.raises(GraftError, match=r"nothing was dropped: .* run run-1 are gone or damaged"):
        prune_store(str(tmp_path))
    assert len(store.open()) == 1
