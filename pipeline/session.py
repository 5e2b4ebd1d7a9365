"""A run as a person has it: what goes to the terminal and what to the log, and how it ends."""

import dataclasses
import logging
import os
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from rich.console import Console

from components.layout import list_images
from pipeline.config import Config
from pipeline.printing import print_error
from pipeline.terminal import catch_interrupts, redirect_noise
from pipeline.workspace import prepare
from schema.errors import GraftError
from serving.schemes import check_scheme

if TYPE_CHECKING:
    from pipeline.run import Ended, Outcome

NOT_PUSHED = 4
_AGAIN = "The same command goes on from there: what is finished is kept, and what was live is live."
_LONG = 300  # characters; some errors have the bytes of an image in them


@dataclasses.dataclass(frozen=True)
class Output:
    """What to print: nothing but errors (quiet), the noise of the libraries too (verbose), or one JSON object."""

    quiet: bool = False
    verbose: bool = False
    as_json: bool = False


def run_session(config: Config, source: str | None, output: Output, require_push: bool = False) -> int:
    """Runs the pipeline, and says what came of it.

    Args:
        config: what the user asked for.
        source: the configuration file, to be named; or None.
        output: what to print.
        require_push: whether a model that is not live in the end is a failure.
    Returns:
        The exit code.
    Raises:
        GraftError: for wrong data or a wrong workspace, before anything is made.
    """
    # All else takes seconds to import. A wrong folder is known at once, and nothing is made for it.
    check_scheme(config.data, "data")
    list_images(config.data, config.window_end_text, config.window_days or 0)
    log = prepare(config.out).log
    interrupted_by = catch_interrupts()
    stdout, stderr = redirect_noise(log, output.verbose)
    console = Console(file=stdout, quiet=output.quiet or output.as_json)
    details = f"details: {log}" + (f", {source}" if source else "")
    first = f"Graft: {config.data} -> {config.out}   ({details})"
    console.print(first, highlight=False, soft_wrap=True, markup=False)
    try:
        outcome = _run(config, console, stdout if output.as_json else None)
    except (Exception, KeyboardInterrupt) as error:
        return _explain(error, interrupted_by, log, stderr)
    from pipeline.run import Ended

    if isinstance(outcome, Ended):
        reasons = [outcome.decision.reason] if outcome.decision.refused else []
    else:
        reasons = outcome.reasons if outcome.pushed_version is None else []
    if require_push and reasons:
        print(f"graft: not pushed: {'; '.join(reasons)}", file=stderr, flush=True)
        return NOT_PUSHED
    return 0


def _run(config: Config, console: Console, json_to: TextIO | None) -> "Outcome | Ended":
    from pipeline.report import print_report, render_json
    from pipeline.run import run_pipeline

    outcome = run_pipeline(config, console)
    print_report(outcome, config, console)
    if json_to:
        print(render_json(outcome, config), file=json_to, flush=True)
    return outcome


def _explain(error: BaseException, interrupted_by: Callable[[], int], log: pathlib.Path, stderr: TextIO) -> int:
    """Says why a run ended early; returns the exit code."""
    if number := interrupted_by():
        print(f"graft: interrupted. {_AGAIN}", file=stderr, flush=True)
        os._exit(128 + number)  # Beam's threads would finish their bundles first
    if isinstance(error, GraftError):
        print_error(error, stderr)
        return error.exit_code
    logging.error("graft run failed", exc_info=error)
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:_LONG]
    print(f"graft: unexpected: {reason}\nThe traceback is in {log}", file=stderr, flush=True)
    return GraftError.exit_code
