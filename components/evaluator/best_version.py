"""Choice of the best kept version, which a candidate is compared with besides the live version."""

from serving.releases import releases
from serving.releases.versions import NOT_LIVE, Version


def find_best(model_dir: str, classes: list[str], live: Version | None) -> Version | None:
    """Finds the kept version with the highest recorded accuracy; the newest of several.

    The canary, which is on trial, withdrawn versions, and versions of other classes or without a recorded accuracy are
    no candidates: accuracies on other classes do not compare.

    Args:
        model_dir: serving folder of the model.
        classes: class names of the candidate.
        live: live version.
    Returns:
        The version; None if no version is live, or none is better than the live version by the records.
    """
    if live is None:
        return None
    found = releases.read(model_dir)
    canary = found.canary.number if found.canary else None
    best, highest = None, live.record.metrics.accuracy if _has_classes(live, classes) else None
    for version in reversed(found.numbered):
        accuracy = version.record.metrics.accuracy
        if version.number in (live.number, canary) or accuracy is None or not _has_classes(version, classes):
            continue
        if highest is None or accuracy > highest:
            best, highest = version, accuracy
    return best


def identify(best: Version | None) -> str:
    """Returns the identity of the best version; NOT_LIVE for none.

    A version whose files cannot be read gets a digest that no version has. It stops no run: the Evaluator says that it
    cannot be read.
    """
    try:
        return best.identity if best else NOT_LIVE
    except OSError:
        return f"{best.number}:unreadable" if best else NOT_LIVE


def _has_classes(version: Version, classes: list[str]) -> bool:
    return set(version.record.classes) == set(classes)
