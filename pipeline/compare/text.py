"""Prints a comparison to the terminal."""

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from components.records.comparison import ChangedImage, Comparison, DataDifference, Flip, Neighbour
from pipeline.compare import wording
from pipeline.console.printing import LABEL_WIDTH, print_indented, print_labelled
from schema.text import printable

_MOST_PATHS = 5  # printed paths of each kind
_MOST_CLASSES = 15  # printed rows of classes and of metrics
_LEGEND = "+ right only in B, - only in A; near: new training images, with the cosine of the embeddings"


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Prints the comparison: accuracy and test first, flipped images last."""
    _print(console, "A:", wording.describe_run(comparison.before))
    _print(console, "B:", wording.describe_run(comparison.now))
    console.print()
    _print(console, "Accuracy:", f"A {wording.describe_accuracy(comparison.before)}")
    _print(console, "", f"B {wording.describe_accuracy(comparison.now)}")
    if comparison.test:
        _print(console, "Paired:", wording.describe_test(comparison.test))
    _print(console, "Images:", wording.describe_data(comparison))
    _print_data(comparison.data, console)
    changes = [f"{c.name}: {c.before} -> {c.now}" for c in comparison.configuration]
    _print_all(console, "Config:", changes or ["the same configuration"])
    _print_all(console, "Code:", [wording.describe_code(comparison)])
    if comparison.inputs:
        _print(console, "Inputs:", f"{', '.join(comparison.inputs)}: another digest")
    _print_all(console, "Versions:", _list_libraries(comparison))
    _print_metrics(comparison, console)
    if comparison.test:
        console.print()
        _print(console, "Flipped:", wording.describe_flips(comparison))
        if comparison.flips:
            print_indented(console, _LEGEND, LABEL_WIDTH)
        for flip in comparison.flips:
            _print_flip(flip, console)
    if comparison.notes:
        console.print()
        _print_all(console, "[yellow]Note:[/]", comparison.notes)


def _print(console: Console, label: str, text: str) -> None:
    print_labelled(console, label, escape(printable(text)))


def _print_all(console: Console, label: str, texts: Iterable[str]) -> None:
    for text in texts:
        _print(console, label, text)
        label = ""


def _print_data(data: DataDifference, console: Console) -> None:
    _print_paths(console, "added", data.some_added, data.added)
    _print_paths(console, "removed", data.some_removed, data.removed)
    _print_paths(console, "relabelled", data.some_relabelled, data.relabelled)
    if not data.classes:
        return
    titles = ["class", "A", "B", "added", "removed", "relabelled"]
    table = _make_table(titles[: 6 if data.listed else 3])
    for row in data.classes[:_MOST_CLASSES]:
        counts = ["" if count is None else f"{count:,}" for count in (row.before, row.now)]
        if data.listed:
            counts += [f"{row.added:,}", f"{row.removed:,}", f"+{row.gained:,} -{row.lost:,}"]
        table.add_row(escape(printable(row.name)), *counts)
    _print_table(console, table, len(data.classes))


def _print_paths(console: Console, kind: str, images: list[ChangedImage], total: int) -> None:
    if images:
        shown = [
            f"{i.path}{f' ({i.label_before} -> {i.label})' if i.label_before else ''}" for i in images[:_MOST_PATHS]
        ]
        more = f" and {total - len(shown):,} more" if total > len(shown) else ""
        _print(console, "", f"{kind}: {', '.join(shown)}{more}")


def _list_libraries(comparison: Comparison) -> list[str]:
    if comparison.libraries is None:
        return ["unknown: a run has recorded no versions of libraries"]
    changes = [f"{c.name} {c.before or 'none'} -> {c.now or 'none'}" for c in comparison.libraries]
    return changes or ["the same versions of Graft, Python and libraries"]


def _print_metrics(comparison: Comparison, console: Console) -> None:
    rows = [wording.describe_metric(metric) for metric in comparison.metrics]
    if not rows:
        return
    console.print()
    table = _make_table(["metric", "A", "B", "change"])
    for name, *values in rows[:_MOST_CLASSES]:
        table.add_row(escape(printable(name)), *values)
    _print_table(console, table, len(rows))


def _make_table(titles: list[str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in titles:
        first = title == titles[0]
        table.add_column(title, justify="left" if first else "right", no_wrap=not first, overflow="fold")
    return table


def _print_table(console: Console, table: Table, rows: int) -> None:
    console.print(Padding(table, (0, 0, 0, LABEL_WIDTH), expand=False))
    if rows > _MOST_CLASSES:
        print_indented(console, f"{rows - _MOST_CLASSES} more: --json has them", LABEL_WIDTH)


def _print_flip(flip: Flip, console: Console) -> None:
    """Prints an image with both predictions and the nearest new training images."""
    sign = "[green]+[/]" if flip.now == flip.label else "[red]-[/]" if flip.before == flip.label else " "
    before = f"A {flip.before} {flip.before_probability:.2f}"
    now = f"B {flip.now} {flip.now_probability:.2f}"
    print_labelled(console, f"       {sign}", escape(printable(f"{flip.path}, of {flip.label}: {before}, {now}")))
    for title, near in zip(("near", "", ""), flip.nearest, strict=False):
        print_indented(console, f"{title:<5}{_describe_neighbour(near)}", LABEL_WIDTH + 2)


def _describe_neighbour(near: Neighbour) -> str:
    relabelled = f", {near.label_before} before" if near.label_before else ""
    return f"{near.path}, of {near.label}{relabelled}: {near.similarity:.2f}"
