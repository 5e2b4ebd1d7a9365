"""Checks the arguments for Apache Beam before a run.

Beam itself ignores unknown arguments, and exits on wrong values.
"""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from apache_beam.options.pipeline_options import PipelineOptions

from schema.errors import UsageError

_DIRECT = ("DirectRunner", "BundleBasedDirectRunner", "FnApiRunner")


class _Parser(argparse.ArgumentParser):
    """Parser that raises UsageError where argparse would print and exit."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"beam.args: {message}. See the pipeline options of Apache Beam.")


def check_beam_args(args: Sequence[str], runner: str = "direct") -> None:
    """Parses the arguments as Beam will.

    Args:
        args: such as "--direct_num_workers=2".
        runner: value of beam.runner.
    Raises:
        UsageError: if an argument is unknown or wrong, or names another runner.
    """
    parser = _Parser(allow_abbrev=False, add_help=False)
    for options in PipelineOptions.__subclasses__():
        if options.__module__.startswith("apache_beam."):
            options._add_argparse_args(parser)  # Beam calls this method, and user-defined options override it
    known, unknown = parser.parse_known_args(args)
    if unknown:
        parser.error(f"{' '.join(unknown)} is no argument of Beam; expected a list such as --direct_num_workers=2")
    if known.runner is not None and (runner != "direct" or known.runner not in _DIRECT):
        parser.error(
            f"--runner={known.runner}: expected no runner here, for another key names it, "
            f'and beam.runner is "{runner}". Name it there'
        )
