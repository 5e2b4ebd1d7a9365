"""A damaged artifact is not reused."""

import os

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration.metadata import sqlite_metadata_connection_config

from pipeline.workspace.artifact_files import forget_damaged, note_files

LIVE, DELETED = metadata_store_pb2.Artifact.LIVE, metadata_store_pb2.Artifact.DELETED


@pytest.fixture
def store(tmp_path):
    """The metadata of two artifacts with two files each; the sizes of those of the first are noted."""
    found = mlmd.MetadataStore(sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite")))
    model = found.put_artifact_type(metadata_store_pb2.ArtifactType(name="Model"))
    for name in "12":
        (tmp_path / name / "variables").mkdir(parents=True)
        (tmp_path / name / "saved_model.pb").write_bytes(b"graph")
        (tmp_path / name / "variables" / "index").write_bytes(b"")
        found.put_artifacts([metadata_store_pb2.Artifact(type_id=model, uri=str(tmp_path / name), state=LIVE)])
    [first, _] = found.get_artifacts()
    note_files(found, [first])
    return found


def list_states(store):
    return [artifact.state for artifact in sorted(store.get_artifacts(), key=lambda artifact: artifact.id)]


def test_whole_artifacts_stay(store, tmp_path):
    """Also with a file more, such as one of a file browser."""
    (tmp_path / "1" / ".directory").write_bytes(b"view")
    assert forget_damaged(store) == []
    assert list_states(store) == [LIVE, LIVE]


@pytest.mark.parametrize("name", ["saved_model.pb", "variables/index"])
@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"gr"), os.remove], ids=["torn", "gone"])
def test_a_damaged_artifact_is_forgotten_once(store, tmp_path, name, damage):
    """The file is named; one that was noted by nobody, of an older Graft, stays."""
    for number in "12":
        damage(tmp_path / number / name)
    assert forget_damaged(store) == [str(tmp_path / "1" / name)]
    assert list_states(store) == [DELETED, LIVE]
    assert forget_damaged(store) == []


def test_artifacts_of_which_the_folder_is_gone_are_left_to_tfx(store, tmp_path):
    """The workspace may have been moved: nobody is told that each artifact is damaged."""
    (tmp_path / "1").rename(tmp_path / "moved")
    assert forget_damaged(store) == []
