"""Salt of the split, taken over from the live version; messages for a live version with a damaged record."""

from schema.errors import UsageError
from schema.text import printable
from serving.releases import versions

# Value of ExampleGen's `salt`: the salt of the live version, or a new one if the record of that version is damaged.
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
    """Describes the damage to the record of the live version and its consequence."""
    return (
        f"{printable(live.path)}/{versions.RECORD}: {live.problem}. Without this record of the live version "
        f"{live.number}, its test images are unknown, and no model can be compared with it."
    )


def check_record(live: versions.Version | None, force: bool) -> None:
    """Rejects a run if the record of the live version cannot be read.

    Such a run would split the images anew and train on test images of the live model. Its model would replace the live
    one without a comparison, and a schedule would hide that.

    Args:
        live: live version, or None.
        force: whether to accept a damaged record.
    Raises:
        UsageError: if the record cannot be read and `force` is not set.
    """
    if live and live.problem and not force:
        raise UsageError(f"{describe_damage(live)} {_FORCE.format(live.number)}")


def describe_unread_record(live: versions.Version | None) -> list[str]:
    """Returns a warning for the report if a run went on without the record of the live version."""
    if live is None or not live.problem:
        return []
    return [
        f"the record of version {live.number}, which is live, cannot be read ({live.problem}): the images were split "
        "anew, and nothing was compared with it"
    ]


def find_salt(model_dir: str, salt: str) -> str:
    """Returns the salt of a run's split; "" to choose one.

    Without a number the salt is that of the live version, so that its test images stay test images.

    Args:
        model_dir: serving folder of the model, or "".
        salt: "", NEW_SALT or a number, as `pipeline.resolve` sets it.
    Raises:
        UsageError: if the record of the live version cannot be read and `salt` is "".
    """
    if salt not in ("", NEW_SALT):
        return salt
    live = versions.find_live(model_dir) if model_dir else None
    if live and live.problem and salt != NEW_SALT:
        raise UsageError(f"{describe_damage(live)} {_BY_HAND.format(live.number)}")
    return read_salt(live)


def read_salt(live: versions.Version | None) -> str:
    """Returns the salt of the live version; "" if no version is live or its record has no salt."""
    return "" if live is None or live.record.salt is None else str(live.record.salt)
