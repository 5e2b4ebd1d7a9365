"""Prints the findings of `./graft check` and `./graft init`."""

import collections
import json
from collections.abc import Sequence

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from components.example_gen import ignored
from pipeline.check.check import Findings, Sizes
from pipeline.check.left_out import group_by_reason, suggest_conversion
from pipeline.config.config import Config
from pipeline.console.estimates import write_estimate
from pipeline.console.printing import print_labelled, print_unbroken
from schema.features import SPLITS
from schema.shares import write_percent
from schema.text import list_some, printable, write_counted

_CLASSES = 20  # classes to show; a folder may have thousands
_EXAMPLES = 2  # paths to show for each reason


def print_findings(findings: Findings, config: Config, console: Console) -> None:
    """Prints classes with their splits, files to leave out with reasons, sizes, disk, and warnings."""
    files, classes = len(findings.listing.files), len(findings.listing.labels)
    counted = f"{write_counted(files, 'file', 'files')} in {write_counted(classes, 'class', 'classes')}"
    verb = "was" if findings.read == 1 else "were"
    read = f"; {findings.read:,} of them {verb} read, spread over all" if findings.is_sample else ""
    print_labelled(console, "Data:", f"{escape(config.data)}: {counted}{read}")
    if not findings.is_sample:
        console.print(_make_table(findings), highlight=False)
    _print_left_out(findings, config, console)
    if phrases := ignored.describe(findings.listing.ignored):
        print_labelled(console, "Ignored:", escape(printable(", ".join(phrases))))
    if findings.sizes:
        print_labelled(console, "Sizes:", escape(_describe_sizes(findings.sizes, config.image_size, config.resize)))
    print_labelled(console, "Disk:", _describe_disk(findings, config))
    for warning in findings.warnings:
        print_labelled(console, "[yellow]Note:[/]", escape(printable(warning)))


def print_verdict(findings: Findings, next_command: str, console: Console) -> None:
    """Prints the command that starts a run, or the problems that would stop the run.

    Of the problems that `print_problems` has printed before the images were read, prints only the number.
    """
    if not findings.problems:
        print_unbroken(console, "Next:", next_command)
        return
    early = findings.early.problems
    above = [f"{write_counted(len(early), 'problem', 'problems')} above would stop a run"] if early else []
    print_problems([*(problem for problem in findings.problems if problem not in early), *above], console)


def print_problems(problems: Sequence[str], console: Console) -> None:
    """Prints problems that would stop a run, if there are any."""
    for label, problem in zip(("Problem:", *[""] * len(problems)), problems, strict=False):
        print_labelled(console, label, escape(printable(problem)))


def render_json(findings: Findings) -> str:
    """Returns the findings as one line of JSON."""
    sizes = findings.sizes
    values = {
        "files": len(findings.listing.files),
        "read": findings.read,
        "report": findings.report.model_dump(mode="json"),
        "left_out": [entry.model_dump() for entry in findings.left_out],
        "sizes": sizes and vars(sizes),
        "disk": vars(findings.disk),
        "live_version": findings.live,
        "warnings": findings.warnings,
        "problems": findings.problems,
    }
    return json.dumps(values, ensure_ascii=False)


def _make_table(findings: Findings) -> Table:
    """Builds a table with a row for each class: files, files left out, and images by split."""
    files = collections.Counter(f.label for f in findings.listing.files)
    lost = collections.Counter(entry.label for entry in findings.left_out)
    counts = findings.report.counts
    table = Table(box=None, pad_edge=True)
    for title in ("class", "files", "left out", *SPLITS):
        table.add_column(title, justify="left" if title == "class" else "right", overflow="fold")
    for label in sorted(files)[:_CLASSES]:
        split = (f"{counts[s].get(label, 0):,}" for s in SPLITS)
        table.add_row(escape(printable(label)), f"{files[label]:,}", f"{lost[label]:,}", *split)
    if len(files) > _CLASSES:
        table.add_row(f"and {len(files) - _CLASSES} more")
    sums = (f"{sum(counts[s].values()):,}" for s in SPLITS)
    table.add_row("all", f"{files.total():,}", f"{lost.total():,}", *sums)
    return table


def _print_left_out(findings: Findings, config: Config, console: Console) -> None:
    broken = findings.report.broken
    if not findings.left_out:
        print_labelled(console, "Left out:", "none")
        return
    share, limit = map(write_percent, (broken / findings.read, config.max_bad_fraction))
    files = write_counted(len(findings.left_out), "file", "files")
    print_labelled(console, "Left out:", f"{files} ({broken} broken, {share}; a run stops above {limit})")
    for reason, paths in group_by_reason(findings.left_out).items():
        examples = list_some(paths, _EXAMPLES)
        print_labelled(console, "", escape(f"{len(paths)} x {reason}: {printable(examples)}"))
    if advice := suggest_conversion(findings.left_out, config.data):
        what, command = advice
        print_labelled(console, "", escape(f"{what}:"))
        print_unbroken(console, "", printable(command))


def _describe_sizes(sizes: Sizes, image_size: int, resize: str) -> str:
    smallest, median, largest = (
        f"{width} x {height}" for width, height in (sizes.smallest, sizes.median, sizes.largest)
    )
    text = f"all {median} pixels" if smallest == largest else f"{smallest} to {largest} pixels, the median {median}"
    text += f"; the network sees {image_size} x {image_size}"
    if sizes.enlarged:
        text += f". {write_counted(sizes.enlarged, 'has', 'have')} a shorter side and "
        text += "is enlarged" if sizes.enlarged == 1 else "are enlarged"
    if sizes.narrow:
        fate = {"stretch": "squeezed", "crop": "cut off", "pad": "padded"}[resize]
        verb = "is" if len(sizes.narrow) == 1 else "are"
        text += f". {len(sizes.narrow):,} {verb} more than 3 times as long as wide and {verb} {fate}: {sizes.narrow[0]}"
    return printable(text)


def _describe_disk(findings: Findings, config: Config) -> str:
    disk = findings.disk
    text = f"a run needs about {write_estimate(disk.needed)}"
    if disk.split_features:
        text += f", and keeps about {write_estimate(disk.split_features)} more for fine-tuning where there is room"
    return f"{text}; {decimal(disk.free)} are free for {escape(config.out)}"
