"""Chooses the class list of a run, and checks the folders against it before an image is read."""

import collections
import json

from components.example_gen import layout
from components.example_gen.folder_hints import suggest_below
from components.gates.data_checks import check_classes, check_listing
from pipeline.config.config import Config
from schema.text import list_some, quote
from serving.releases import versions


def resolve_classes(config: Config, listing: layout.Listing, live: versions.Version | None) -> list[str]:
    """Returns the class list of a run: the configured one, else the live model's, else the folders'."""
    return list(config.classes or (live.record.classes if live else ()) or listing.labels)


def find_early_problems(
    config: Config, listing: layout.Listing, classes: list[str], live: versions.Version | None
) -> list[str]:
    """Returns the problems that names and counts of files show, each with what to do.

    Args:
        config: the user's configuration.
        listing: files of the data folder.
        classes: class list of the run.
        live: the live version, or None.
    """
    counts = collections.Counter(f.label for f in listing.files)
    problems = check_classes(counts, classes) or check_listing(counts)
    if len(counts) < 2 and (hint := suggest_below(config.data)):
        problems.append(hint)
    if problems and live and not config.classes and set(classes) != set(counts):
        problems.append(_explain_classes(sorted(counts), live.number))
    return problems


def _explain_classes(found: list[str], live: int) -> str:
    """Explains the options of a user whose folders are not the classes of the live model."""
    text = (
        f"The classes are those of the live model, version {live}. For other data, run with another workspace (--out)."
    )
    if len(found) < 2:
        return f"{text} There, too, a classifier needs two classes, and this folder has one: {list_some(found)}."
    if any("," in name for name in found):
        way = f"classes = {json.dumps(found, ensure_ascii=False)} in graft.toml"
    else:
        way = f"--classes {quote(','.join(found))}"
    return (
        f"{text} To go on with the folders' classes, name them: {way}; "
        "both models are then compared on the classes that both know."
    )
