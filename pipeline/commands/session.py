"""A run as a person has it: what goes to the terminal and what to the log, and how it ends."""

import dataclasses
import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Console

from components.example_gen.layout import list_images
from pipeline.config.config import Config
from pipeline.console.printing import as_called, echo_json, make_console, print_error, print_unbroken
from pipeline.console.terminal import catch_interrupts
from pipeline.local.interruption import describe_interruption
from pipeline.local.progress_display import ProgressDisplay
from pipeline.local.run_log import RunLog
from pipeline.workspace.manifest import SkippedRun
from pipeline.workspace.workspace import Workspace, make_run_id, prepare
from schema.errors import GraftError
from schema.text import quote
from serving.process import output as printing
from serving.storage.schemes import check_scheme

if TYPE_CHECKING:
    from pipeline.local.run import Trained

NOT_PUSHED = 4
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
    list_images(config.data, config.window_end_text, config.window_days or 0, config.follow_links)
    workspace = prepare(config.out)
    interrupted_by = catch_interrupts()
    log = RunLog(workspace.log, make_run_id(), output.verbose)
    # Between the lines of the log a bar would be torn.
    terminal = False if output.verbose else None
    console = make_console(file=log.stdout, quiet=output.quiet or output.as_json, force_terminal=terminal)
    print_unbroken(console, "Graft:", f"{config.data} -> {config.out}")
    print_unbroken(console, "Log:", os.path.join(config.out, workspace.log.name))
    if source:
        print_unbroken(console, "Settings:", source)
    try:
        ended = _run(config, console, log, output.as_json)
    except (Exception, KeyboardInterrupt) as error:
        return _explain(error, interrupted_by, log, workspace, config.model_name)
    finally:
        log.flush()
    if isinstance(ended, SkippedRun):
        reasons = [ended.decision.reason] if ended.decision.refused else []
    else:
        reasons = ended.result.reasons if ended.result.pushed_version is None else []
    if require_push and reasons:
        print_error(GraftError(f"not pushed: {'; '.join(reasons)}"), log.stderr)
        return NOT_PUSHED
    return 0


def _run(config: Config, console: Console, log: RunLog, as_json: bool) -> "Trained | SkippedRun":
    with ProgressDisplay(console) as display:
        display.prepare("loading TensorFlow and TFX")
        from pipeline.local.report import print_report, render_json
        from pipeline.local.run import run_pipeline

    ended = run_pipeline(config, console, log)
    print_report(ended, config, console)
    if as_json:
        echo_json(render_json(ended, config), log.stdout)
    return ended


def _explain(
    error: BaseException, interrupted_by: Callable[[], int], log: RunLog, workspace: Workspace, model_name: str
) -> int:
    """Says why a run ended early; returns the exit code."""
    if number := interrupted_by():
        left = describe_interruption(log.component, log.finished, str(workspace.model_dir(model_name)))
        print_error(GraftError(left), log.stderr)
        log.flush()
        os._exit(128 + number)  # Beam's threads would finish their bundles first
    if isinstance(error, GraftError):
        print_error(error, log.stderr)
        return error.exit_code
    logging.error("graft run failed", exc_info=error)
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:_LONG]
    lines = [f"graft: unexpected: {reason}", f"The traceback is in {workspace.log}"]
    if len(workspace.list_runs()) > 1:
        out = quote(str(workspace.root))
        lines.append(f"If it comes again: ./graft repair --out {out} moves aside what earlier runs have left")
    printing.echo(*map(as_called, lines), file=log.stderr)
    return GraftError.exit_code
