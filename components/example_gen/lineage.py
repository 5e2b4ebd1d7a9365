"""Takes the salt of the split over from the live version, and says what happens where its record cannot be read."""

from schema.errors import UsageError
from schema.text import printable
from serving.releases import versions

# For ExampleGen: as "", the salt of the live version; but where its record cannot be read, one of its own.
NEW_SALT = "new"
_LOSS = "the images are split anew, so that it may train on what version {} was tested on, and is compared with nothing"
_FORCE = (
    "./graft releases rollback makes the version before it live; --force trains a model all the same: " + _LOSS + "."
)
_BY_HAND = (
    "Put the file back from a copy, or remove it: the version then counts as one that Graft did not push. The next "
    "model is trained all the same: " + _LOSS + "."
)


def describe_damage(live: versions.Version) -> str:
    """Says what is wrong with the record of the live version, and why that matters."""
    return (
        f"{printable(live.path)}/{versions.RECORD}: {live.problem}. Without this record of the live version "
        f"{live.number}, nobody knows which images it was tested on, and no model can be compared with it."
    )


def check_record(live: versions.Version | None, force: bool) -> None:
    """Refuses a run beside a live version whose record cannot be read.

    Such a run would deal the images anew, train on what the live model was tested on, and put a model in its place that
    was compared with nothing. On a schedule nobody would notice.

    Args:
        live: the live version, or None.
        force: whether to go on all the same.
    Raises:
        UsageError: if the record cannot be read, and nobody forces it.
    """
    if problems := find_record_problems(live, force):
        raise UsageError(*problems)


def find_record_problems(live: versions.Version | None, force: bool) -> list[str]:
    """Returns what `check_record` refuses, with what to do; nothing where it refuses nothing."""
    if live is None or not live.problem or force:
        return []
    return [f"{describe_damage(live)} {_FORCE.format(live.number)}"]


def describe_unread_record(live: versions.Version | None) -> list[str]:
    """Returns a warning for the report of a run that went on without the record of the live version."""
    if live is None or not live.problem:
        return []
    return [
        f"the record of version {live.number}, which is live, cannot be read ({live.problem}): the images were split "
        "anew, and nothing was compared with it"
    ]


def find_salt(model_dir: str, salt: str) -> str:
    """Returns the salt that a run splits its images with; "" to choose one.

    The live version's, where none is given: an image that it was tested on must not be trained on later.

    Args:
        model_dir: the serving folder of the model, or "".
        salt: as `resolve` found it; "", NEW_SALT or a number.
    Raises:
        UsageError: if the record of the live version cannot be read; but with NEW_SALT.
    """
    if salt not in ("", NEW_SALT):
        return salt
    live = versions.find_live(model_dir) if model_dir else None
    if live and live.problem and salt != NEW_SALT:
        raise UsageError(f"{describe_damage(live)} {_BY_HAND.format(live.number)}")
    return read_salt(live)


def read_salt(live: versions.Version | None) -> str:
    """Returns the salt of the live version; "" if there is none, or none is known."""
    return "" if live is None or live.record.salt is None else str(live.record.salt)
