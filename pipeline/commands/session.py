"""Runs the pipeline for a user: terminal, log, messages and exit code."""

import dataclasses
import gc
import logging
import os
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Console

from components.example_gen.layout import list_images
from pipeline.beam import jobs
from pipeline.beam.causes import find_first_cause
from pipeline.check.start import check_start, check_workspace
from pipeline.config.config import Config
from pipeline.console.ending import end_at_once
from pipeline.console.printing import as_called, echo_json, make_console, print_error, print_unbroken
from pipeline.console.terminal import catch_interrupts
from pipeline.local import xla_cache
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


@dataclasses.dataclass(frozen=True)
class Output:
    """Verbosity of a run: errors alone (quiet), with the libraries' output (verbose), or one JSON object (as_json)."""

    quiet: bool = False
    verbose: bool = False
    as_json: bool = False


def run_session(config: Config, source: str | None, output: Output, require_push: bool = False) -> int:
    """Runs the pipeline, and prints the result.

    Args:
        config: the user's configuration.
        source: name of the configuration file to print, or None.
        output: verbosity.
        require_push: whether to return `NOT_PUSHED` if this run's model is not live (or the canary) at the end.
    Returns:
        The exit code.
    Raises:
        GraftError: for wrong data or a wrong workspace, before the run writes a file.
    """
    # What can be checked at once is refused before the slow imports, and before a workspace is made.
    check_scheme(config.data, "data")
    listing = list_images(config.data, config.window_end_text, config.window_days or 0, config.follow_links)
    check_start(config, listing, Workspace(pathlib.Path(config.out)))
    check_workspace(config.out)
    workspace = prepare(config.out)
    interrupted_by = catch_interrupts()
    log = RunLog(workspace.log, make_run_id(), output.verbose)
    # With --verbose there is no progress bar: the lines of the log would break it.
    terminal = False if output.verbose else None
    console = make_console(file=log.stdout, quiet=output.quiet or output.as_json, force_terminal=terminal)
    print_unbroken(console, "Graft:", f"{config.data} -> {config.out}")
    print_unbroken(console, "Log:", os.path.join(config.out, workspace.log.name))
    if source:
        print_unbroken(console, "Settings:", source)
    try:
        run = _run(config, console, log, output.as_json)
    except (Exception, KeyboardInterrupt) as error:
        return _explain(error, interrupted_by, log, workspace, config.model_name)
    finally:
        log.flush()
    if isinstance(run, SkippedRun):
        reasons = [run.decision.reason] if run.decision.refused else []
    else:
        reasons = run.result.reasons if run.result.pushed_version is None else []
    if require_push and reasons:
        print_error(GraftError(f"not pushed: {'; '.join(reasons)}"), log.stderr)
        return NOT_PUSHED
    return 0


def _run(config: Config, console: Console, log: RunLog, as_json: bool) -> "Trained | SkippedRun":
    with ProgressDisplay(console) as display:
        display.prepare("loading TensorFlow and TFX")
        xla_cache.enable(Workspace(pathlib.Path(config.out)).compiled)
        from pipeline.local.report import print_report, render_json
        from pipeline.local.run import run_pipeline

    if not gc.get_freeze_count():
        # The libraries stay until the process ends. Each full collection of garbage would visit their million objects,
        # which is 3 % of the processor time of a small run.
        gc.freeze()
    run = run_pipeline(config, console, log)
    print_report(run, config, console)
    if as_json:
        echo_json(render_json(run, config), log.stdout)
    return run


def _explain(
    error: BaseException, interrupted_by: Callable[[], int], log: RunLog, workspace: Workspace, model_name: str
) -> int:
    """Prints the reason why a run stopped; returns the exit code."""
    if number := interrupted_by():
        left = describe_interruption(log.component, log.finished, str(workspace.model_dir(model_name)), log.run_id)
        print_error(GraftError(left, *(job.describe_cancel() for job in jobs.list_running())), log.stderr)
        log.flush()
        end_at_once(128 + number)  # a normal exit would wait for the bundles of Beam's threads
    if isinstance(error, GraftError):
        print_error(error, log.stderr)
        return error.exit_code
    logging.error("graft run failed", exc_info=error)
    reason = find_first_cause(f"{type(error).__name__}: {error}")
    lines = [f"graft: unexpected: {reason}", f"The whole error, with the traceback, is in {workspace.log}"]
    if len(workspace.list_runs()) > 1:
        out = quote(str(workspace.root))
        lines.append(f"If it comes again: ./graft repair --out {out} moves aside the files of earlier runs")
    printing.echo(*map(as_called, lines), file=log.stderr)
    return GraftError.exit_code
