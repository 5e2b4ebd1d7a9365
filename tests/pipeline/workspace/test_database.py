"""A database that cannot be used ends a run in one line with the way out, and following it leads on."""

import os
import shlex
import sqlite3
import subprocess
import sys

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration.metadata import sqlite_metadata_connection_config

from pipeline.workspace.database import check_database, open_database
from pipeline.workspace.repair import describe, repair
from pipeline.workspace.workspace import Workspace, prepare
from schema.errors import GraftError

COMPLETE = metadata_store_pb2.Execution.COMPLETE


KILLED_IN_A_TRANSACTION = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in ("PRAGMA cache_size = 1", "BEGIN", "DELETE FROM Execution", "DELETE FROM Type"):
    connection.execute(statement)
os._exit(9)
"""


def connect(workspace):
    return sqlite_metadata_connection_config(str(workspace.metadata))


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """The bytes of a database with 300 executions."""
    path = tmp_path_factory.mktemp("good") / "metadata.sqlite"
    store = mlmd.MetadataStore(sqlite_metadata_connection_config(str(path)))
    trainer = store.put_execution_type(metadata_store_pb2.ExecutionType(name="Trainer"))
    store.put_executions([metadata_store_pb2.Execution(type_id=trainer, last_known_state=COMPLETE)] * 300)
    return path.read_bytes()


@pytest.fixture
def workspace(tmp_path, content):
    """A workspace with that database, and an artifact."""
    found = prepare(str(tmp_path / "my out"))
    found.metadata.write_bytes(content)
    (found.artifacts / "Trainer/model/1").mkdir(parents=True)
    (found.artifacts / "Trainer/model/1/file").write_text("model")
    return found


def use(workspace):
    """Checks and opens, as a run does; returns how many executions there are."""
    check_database(workspace)
    return len(open_database(workspace, connect(workspace)).get_executions())


def execute(*statements):
    def change(path):
        with sqlite3.connect(path) as connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()

    return change


def replace_by(make):
    """Writes other bytes, made of the old ones."""
    return lambda path: path.write_bytes(make(path.read_bytes()))


def make_folder(path):
    path.unlink()
    path.mkdir()


def make_pipe(path):
    path.unlink()
    os.mkfifo(path)


DAMAGES = {
    "header only": replace_by(lambda content: content[:100]),
    "half": replace_by(lambda content: content[: len(content) // 2]),
    "a page less": replace_by(lambda content: content[:-4096]),
    "zeros": replace_by(lambda content: bytes(len(content))),
    "zeros at the end": replace_by(lambda content: content[: len(content) // 2] + bytes(len(content) // 2)),
    "a page of zeros": replace_by(lambda content: content[:8192] + bytes(4096) + content[12288:]),
    "garbage": replace_by(lambda content: bytes(range(256)) * (len(content) // 256)),
    "text": replace_by(lambda content: b"not a database\n" * 99),
    "folder": make_folder,
    "pipe": make_pipe,
    "older": execute("UPDATE MLMDEnv SET schema_version = 3"),
    "newer": execute("UPDATE MLMDEnv SET schema_version = 99"),
    "no version": execute("DELETE FROM MLMDEnv"),
    "a table less": execute("DROP TABLE Event"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_unusable_database_is_one_line_with_a_way_out_that_works(workspace, damage):
    """What is printed is typed: the database and the artifacts are moved, and a new database can be used."""
    damage(workspace.metadata)
    before = sorted(os.listdir(workspace.root))
    with pytest.raises(GraftError, match=r"metadata.sqlite: cannot be used: ") as caught:
        use(workspace)
    message = str(caught.value)
    assert "\n" not in message
    assert sorted(os.listdir(workspace.root)) == before
    command = shlex.split(message[message.index("./graft repair") : message.index(", and run again")])
    assert command[:3] == ["./graft", "repair", "--out"]
    repaired = repair(command[3])
    assert (repaired.lost / "pipeline/Trainer/model/1/file").read_text() == "model"
    assert use(workspace) == 0


@pytest.mark.parametrize("content", [b"", b"S"], ids=["empty", "a byte"])
def test_database_without_content_is_a_new_one(workspace, content):
    """As SQLite takes it."""
    workspace.metadata.write_bytes(content)
    assert use(workspace) == 0


def test_whole_database_is_used(workspace, content):
    """Also with a journal that a killed run has left: SQLite rolls it back."""
    assert use(workspace) == 300
    subprocess.run([sys.executable, "-c", KILLED_IN_A_TRANSACTION, workspace.metadata], check=False)
    assert os.path.exists(f"{workspace.metadata}-journal")
    assert use(workspace) == 300


def test_locked_database_is_no_damaged_one(workspace, monkeypatch):
    """The way out is another: nothing is to be moved."""
    monkeypatch.setattr("pipeline.workspace.database._LOCK_SECONDS", 0.05)
    connection = sqlite3.connect(workspace.metadata, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    with pytest.raises(GraftError, match=r"metadata.sqlite: another program has locked it\. End that program"):
        use(workspace)
    connection.close()
    assert use(workspace) == 300


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_read_only_database_is_no_damaged_one(workspace):
    """Nor this."""
    workspace.metadata.chmod(0o400)
    with pytest.raises(GraftError, match=r"metadata.sqlite: cannot be opened: Permission denied\. Make it"):
        use(workspace)


def test_database_that_the_system_refuses_to_open_is_named(workspace, monkeypatch):
    """As another user, who may not write it."""

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(GraftError, match=r"metadata.sqlite: cannot be opened: Permission denied\. Make it"):
        check_database(workspace)


def test_a_workspace_without_a_database_is_fine(tmp_path):
    """A first run makes it."""
    check_database(Workspace(tmp_path))
    assert use(prepare(str(tmp_path / "out"))) == 0


def test_journals_go_with_the_database(workspace):
    """What SQLite would play back into another database."""
    for suffix in ("-journal", "-wal", "-shm"):
        (workspace.root / f"metadata.sqlite{suffix}").write_bytes(b"pages")
    repaired = repair(str(workspace.root))
    assert not list(workspace.root.glob("metadata*"))
    assert len(list(repaired.lost.glob("metadata*"))) == 4
    assert "metadata.sqlite, metadata.sqlite-journal, metadata.sqlite-wal" in describe(repaired)[0]
