"""A command with an option for each key of the configuration, and the options that commands share."""

from collections.abc import Callable, Collection
from typing import Any

import click

from pipeline.console.printing import echo


class ConfiguredCommand(click.Command):
    """A command with an option for each key of the configuration, or for some keys.

    The options are built on first use: the import of pydantic takes time.
    """

    def __init__(self, *arguments: Any, keys: Collection[str] = (), **options: Any):
        """Makes a command; `keys` names the keys with an option, all without it."""
        super().__init__(*arguments, **options)
        self._keys = keys

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Returns the command's own options and those of the configuration."""
        from pipeline.config.options import make_options

        return [*self._get_own(ctx), *make_options(self._keys)]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the options under the headings of the configuration; --help-beam prints those of Beam."""
        from pipeline.config.options import write_options

        write_options(self._get_own(ctx), ctx, formatter, self._keys)

    @property
    def has_beam_options(self) -> bool:
        """True for a command with an option for each key, whose --help-beam prints those of Beam."""
        return not self._keys

    def describe_beam_options(self, ctx: click.Context) -> str:
        """Returns the help of the options of Beam."""
        from pipeline.config.options import write_beam_options

        formatter = ctx.make_formatter()
        write_beam_options(formatter)
        return formatter.getvalue().rstrip("\n")

    def _get_own(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *([_HELP_BEAM] if self.has_beam_options else [])]


def _print_beam_options(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and isinstance(ctx.command, ConfiguredCommand):
        echo(*ctx.command.describe_beam_options(ctx).split("\n"))
        ctx.exit()


_HELP_BEAM = click.Option(
    ["--help-beam"],
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_beam_options,
    help="Show the options of Apache Beam: other runners, workers, Dataflow.",
)


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --quiet, --verbose and --json to a command that runs the pipeline."""
    quiet = click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
    verbose = click.option("-v", "--verbose", is_flag=True, help="Show what TFX, Beam and TensorFlow say.")
    as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end, nothing else.")
    return quiet(verbose(as_json(command)))


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --out and --model, which choose the pushed model that a command is about."""
    out = click.option("--out", metavar="DIR", help="Workspace.  [that of ./graft run here, or of the demo]")
    model = click.option("--model", metavar="NAME", help="Name of the model.  [the only model]")
    return out(model(command))
