"""Checks the arguments for Apache Beam before a run.

Beam itself ignores unknown arguments, and exits on wrong values.
"""

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_job_api_pb2

from schema.errors import UsageError

_DIRECT = ("DirectRunner", "BundleBasedDirectRunner", "FnApiRunner")


class _Parser(argparse.ArgumentParser):
    """Parser that raises UsageError where argparse would print and exit."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"beam.args: {message}. See the pipeline options of Apache Beam.")


def check_beam_args(
    args: Sequence[str], runner: str = "direct", engine: Sequence[beam_job_api_pb2.PipelineOptionDescriptor] | None = ()
) -> list[str]:
    """Parses the arguments as Beam will.

    Args:
        args: such as "--direct_num_workers=2".
        runner: value of beam.runner.
        engine: options of the engine's own, as its job server lists them; None if it cannot be asked from here.
    Returns:
        The options that neither Beam's Python nor the engine is known to have; always none where the engine was asked.
    Raises:
        UsageError: if an argument is unknown or wrong, or names another runner.
    """
    parser = _Parser(allow_abbrev=False, add_help=False)
    for options in PipelineOptions.__subclasses__():
        if options.__module__.startswith("apache_beam."):
            options._add_argparse_args(parser)  # Beam calls this method, and user-defined options override it
    for option in engine or ():
        _add_option(parser, option)
    known, unknown = parser.parse_known_args(args)
    if unknown and (engine is not None or not all(word.startswith("--") for word in unknown)):
        who = "Beam or of the engine" if engine else "Beam"
        parser.error(f"{' '.join(unknown)} is no argument of {who}; expected a list such as --direct_num_workers=2")
    if known.runner is not None and (runner != "direct" or known.runner not in _DIRECT):
        parser.error(
            f"--runner={known.runner}: expected no runner here, for another key names it, "
            f'and beam.runner is "{runner}". Name it there'
        )
    return unknown


def _add_option(parser: argparse.ArgumentParser, option: beam_job_api_pb2.PipelineOptionDescriptor) -> None:
    """Adds an option of the engine, as `JobServiceHandle.get_pipeline_options` of Beam does."""
    name, kinds = f"--{option.name}", beam_job_api_pb2.PipelineOptionType
    if name in parser._option_string_actions:
        return  # Beam's Python has it
    settings: dict[str, Any] = {}
    if option.type == kinds.BOOLEAN:
        settings["action"] = "store_true" if option.default_value != "true" else "store_false"
    elif option.type == kinds.INTEGER:
        settings["type"] = int
    elif option.type == kinds.ARRAY:
        settings["action"] = "append"
    parser.add_argument(name, **settings)
