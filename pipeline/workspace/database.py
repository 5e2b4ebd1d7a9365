"""Checks ML Metadata's database before a run; each error says how to repair the database."""

import contextlib
import os
import sqlite3
import stat

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2

from pipeline.workspace.disk import explain_disk_error
from pipeline.workspace.workspace import Workspace
from schema.errors import GraftError
from schema.text import printable, quote

_LOCK_SECONDS = 2.0  # longer than a program that only reads holds the lock
_KEPT = "What was pushed stays live; embeddings stay, too, so that no image goes through the base again."


def check_database(workspace: Workspace, read_only: bool = False) -> None:
    """Checks with SQLite that the database can be read and written; skips a missing one, which the run makes.

    Args:
        workspace: workspace that this process has locked, or only reads.
        read_only: whether to write nothing; skips a database with a journal, which a killed run has left and SQLite
            would roll back.
    Raises:
        GraftError: if the database is damaged, locked, or cannot be opened.
    """
    path = workspace.metadata
    if not os.path.lexists(path):
        return
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise describe_damage(workspace, "it is no file")
        with open(path, "r+b"):
            pass
        if read_only and os.path.lexists(f"{path}-journal"):
            return
        mode, begin = ("ro", "BEGIN") if read_only else ("rw", "BEGIN IMMEDIATE")
        address = f"{path.absolute().as_uri()}?mode={mode}"
        opened = sqlite3.connect(address, timeout=_LOCK_SECONDS, isolation_level=None, uri=True)
        with contextlib.closing(opened) as connection:
            connection.execute(begin)
            [[verdict]] = connection.execute("PRAGMA quick_check(1)")
            connection.execute("ROLLBACK")
    except OSError as error:
        raise GraftError(
            f"{printable(str(path))}: cannot be opened: {error.strerror}. "
            "Make it readable and writable, or choose another folder with --out."
        ) from None
    except sqlite3.DatabaseError as error:
        if "locked" in str(error):
            raise GraftError(
                f"{printable(str(path))}: another program has locked it. End that program, and run again."
            ) from None
        if explain_disk_error(error, str(workspace.root)):
            raise
        raise describe_damage(workspace, str(error)) from None
    if verdict != "ok":
        raise describe_damage(workspace, verdict)


def open_database(workspace: Workspace, connection: metadata_store_pb2.ConnectionConfig) -> mlmd.MetadataStore:
    """Opens the database, or makes a new one.

    Args:
        workspace: workspace that this process has locked.
        connection: connection to the database.
    Raises:
        GraftError: if ML Metadata cannot read the database, as that of an older version.
    """
    try:
        store = mlmd.MetadataStore(connection)
        store.get_execution_types()
    except Exception as error:  # its errors have no common base class in both stacks
        if explain_disk_error(error, str(workspace.root)):
            raise
        raise describe_damage(workspace, str(error)) from error
    return store


def describe_damage(workspace: Workspace, reason: str) -> GraftError:
    """Returns the error for a database that cannot be used, with the command that moves it aside."""
    out = quote(str(workspace.root))
    return GraftError(
        f"{printable(str(workspace.metadata))}: cannot be used: {printable(' '.join(reason.split()))}. "
        f"Move it aside with ./graft repair --out {out}, and run again. {_KEPT}"
    )
