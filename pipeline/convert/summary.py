"""Progress bar and summary of `./graft convert`."""

import collections
import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping

from rich.progress import Progress, SpinnerColumn, TextColumn

from components.example_gen import ignored
from pipeline.console.printing import echo, echo_json, make_console
from pipeline.local.progress_display import Bar, Figures, count_done
from schema.text import quote

_SHOWN = 20  # problems to print; --json has all


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Result of one file: converted, copied, turned, kept from before, or left out.

    Attributes:
        path: path of the source, relative to its folder.
        kind: format, such as "HEIC".
        action: "converted", "copied", "turned" or "already there"; "" for a file left out.
        frames: number of pages or frames in a converted file.
        problem: reason why the file was left out, or "".
    """

    path: str
    kind: str
    action: str = ""
    frames: int = 1
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class Summary:
    """Result of a folder: the outcome of each file, and the ignored files.

    Attributes:
        out: the written folder.
        outcomes: outcome of each file, in the order of the paths.
        ignored: number of ignored files and folders, by kind and name.
        others: number of files in `out` from other sources.
        has_classes: whether the written folder has two classes or more.
    """

    out: str
    outcomes: tuple[Outcome, ...]
    ignored: Mapping[str, Mapping[str, int]]
    others: int
    has_classes: bool

    @property
    def problems(self) -> list[Outcome]:
        """Outcomes of the files that were left out."""
        return [outcome for outcome in self.outcomes if outcome.problem]

    @property
    def converted(self) -> dict[str, int]:
        """Number of converted files by format, the most frequent first."""
        kinds = collections.Counter(o.kind for o in self.outcomes if o.action == "converted")
        return dict(sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0])))

    def count(self, action: str) -> int:
        """Counts the files with an action."""
        return sum(outcome.action == action for outcome in self.outcomes)

    @property
    def first_of_several(self) -> int:
        """Number of converted files with more than one page or frame."""
        return sum(outcome.frames > 1 for outcome in self.outcomes)


def print_summary(summary: Summary, as_json: bool) -> None:
    """Prints counts to the standard output, and the files left out to the standard error."""
    problems = summary.problems
    for outcome in problems[:_SHOWN]:
        echo(f"graft: {outcome.path}: {outcome.problem}", err=True)
    if len(problems) > _SHOWN:
        echo(f"graft: and {len(problems) - _SHOWN} more; --json has all", err=True)
    if as_json:
        echo_json(_render_json(summary))
    else:
        echo(*_describe(summary))


def _render_json(summary: Summary) -> str:
    figures = {
        "out": summary.out,
        "converted": summary.converted,
        "copied": summary.count("copied"),
        "turned": summary.count("turned"),
        "already_there": summary.count("already there"),
        "first_of_several": summary.first_of_several,
        "ignored": summary.ignored,
        "others": summary.others,
        "not_converted": [{"path": outcome.path, "reason": outcome.problem} for outcome in summary.problems],
    }
    return json.dumps(figures, indent=2)


def _describe(summary: Summary) -> Iterator[str]:
    converted = ", ".join(f"{count:,} {kind}" for kind, count in summary.converted.items())
    yield f"Converted:     {converted or 'none'}"
    figures = {
        "Copied": (summary.count("copied"), "as they are"),
        "Turned": (summary.count("turned"), "JPEG with an EXIF orientation, written upright"),
        "Already there": (summary.count("already there"), "from an earlier time, and kept"),
        "Pages dropped": (summary.first_of_several, "files with several pages or frames: the first is taken"),
        "Left out": (len(summary.problems), "see above"),
        "Others": (
            summary.others,
            f"in {summary.out} from other sources; a run reads them, too",
        ),
    }
    for name, (count, note) in figures.items():
        if count:
            yield f"{name + ':':<14} {count:,} {note}"
    if phrases := ignored.describe(summary.ignored):
        yield f"{'Ignored:':<14} {', '.join(phrases)}"
    if len(summary.problems) < len(summary.outcomes):
        command = "run" if summary.has_classes else "predict"  # no run trains on fewer than two classes
        yield f"{'Next:':<14} ./graft {command} {quote(summary.out)}"


@contextlib.contextmanager
def show_progress(total: int) -> Iterator[Callable[[], object]]:
    """Shows a bar with rate and remaining time, if the standard error is a terminal.

    Args:
        total: number of files.
    Yields:
        A function to call after each file.
    """
    console = make_console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), Bar(console), Figures(console))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("images", total=total)
        yield lambda: count_done(bar, task)
