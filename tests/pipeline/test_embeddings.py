"""Which runs the embedding store is kept for."""

import json

from pipeline.embeddings import _live_manifests
from pipeline.workspace import Workspace


def write_run(root, run_id):
    (root / "runs" / run_id).mkdir(parents=True)
    manifest = {"run_id": run_id, "embedding": {"kinds": ["embedding-1"]}}
    (root / "runs" / run_id / "manifest.json").write_text(json.dumps(manifest))


def write_version(root, number, run_id):
    extra = root / f"serving/graft/{number}/assets.extra"
    extra.mkdir(parents=True)
    (extra / "graft.json").write_text(json.dumps({"run_id": run_id}))
    (root / f"serving/graft/{number}/saved_model.pb").write_bytes(b"graph")


def test_it_is_kept_for_the_newest_run_and_for_what_is_live(tmp_path):
    """Whichever run made that: after a rollback it is not the last that pushed."""
    for run_id in ("run-1", "run-2", "run-3"):
        write_run(tmp_path, run_id)
    write_version(tmp_path, 1, "run-1")
    write_version(tmp_path, 2, "run-2")

    def kept():
        return sorted(manifest["run_id"] for manifest in _live_manifests(Workspace(tmp_path)))

    assert kept() == ["run-2", "run-3"]
    (tmp_path / "serving/graft/2").rename(tmp_path / "serving/graft/withdrawn-2")
    assert kept() == ["run-1", "run-3"]
    write_version(tmp_path, 3, "run-3")
    assert kept() == ["run-3"]
