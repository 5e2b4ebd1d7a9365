"""`./graft releases`: lists the pushed versions, and changes the live one."""

import click

from pipeline.commands.configured import model_options
from pipeline.config.here import choose_workspace
from pipeline.console.printing import echo, echo_json, make_console


class _ListByDefault(click.Group):
    """Command group whose default command is `list`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Inserts `list` before arguments that do not begin with a command."""
        first = args[0] if args else ""
        listing = not args or (first.startswith("-") and first not in ctx.help_option_names)
        return super().parse_args(ctx, ["list", *args] if listing else args)


@click.group(cls=_ListByDefault, short_help="Show the pushed versions; roll back, promote, prune.")
def releases() -> None:
    """Show the pushed versions, and choose the live one.

    \b
    ./graft releases             list the versions: live, canary, older, withdrawn
    ./graft releases rollback    withdraw the live version; the one before it is live
    ./graft releases promote     make the canary live

    A TensorFlow Serving that watches the folder follows by itself.
    """


@releases.command("list", short_help="List the versions; what ./graft releases does by itself.")
@model_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_releases(out: str | None, model: str | None, as_json: bool) -> None:
    """List the versions: state, time of the push, accuracy on test, run, size.

    \b
    ./graft releases list
    ./graft releases list --json --model graft
    """
    from pipeline.workspace.pushed_models import find_model_dir, print_releases, render_json

    model_dir = find_model_dir(out or choose_workspace(), model)
    if as_json:
        echo_json(render_json(model_dir))
    else:
        print_releases(model_dir, make_console())


@releases.command(short_help="Withdraw the live version, or the canary.")
@model_options
@click.option("--canary", is_flag=True, help="Withdraw the canary; the live version stays live.")
def rollback(out: str | None, model: str | None, canary: bool) -> None:
    """Withdraw the live version; the one before it is live. A canary stays the canary.

    A withdrawn version stays in the folder, and the same model is not pushed again.

    \b
    ./graft releases rollback
    ./graft releases rollback --canary    end the trial
    """
    from pipeline.workspace.pushed_models import change, describe_state
    from serving.releases.releases import read, roll_back, withdraw_canary

    with change(out or choose_workspace(), model) as model_dir:
        before = read(model_dir).labels
        withdrawn = withdraw_canary(model_dir) if canary else roll_back(model_dir)
        echo(f"Withdrawn: {withdrawn.path}", *describe_state(model_dir, before))


@releases.command(short_help="Make the canary live, or another version.")
@model_options
@click.argument("version", required=False, metavar="[VERSION]")
def promote(out: str | None, model: str | None, version: str | None) -> None:
    """Make the canary live; or an older version, or one that was withdrawn. It gets the next number.

    VERSION is a number, or the folder that `./graft releases rollback` has printed.

    \b
    ./graft releases promote
    ./graft releases promote 1795612102
    ./graft releases promote graft-out/serving/graft/withdrawn-1795612102
    """
    from pipeline.workspace.pushed_models import change, describe_state, read_number
    from serving.releases.releases import promote as promote_version
    from serving.releases.releases import read

    with change(out or choose_workspace(), model) as model_dir:
        before = read(model_dir).labels
        promote_version(model_dir, read_number(version, model_dir) if version else None)
        echo(*describe_state(model_dir, before))


@releases.command(short_help="Remove old versions.")
@model_options
@click.argument("count", type=click.IntRange(1), metavar="N")
def keep(out: str | None, model: str | None, count: int) -> None:
    """Remove old versions so that N are left, and of the withdrawn ones N at the most.

    The live version, the canary, and with 2 or more the version before the live one are never removed.

    \b
    ./graft releases keep 3
    """
    from pipeline.workspace.pushed_models import change, describe_state
    from serving.releases.releases import keep as keep_versions

    with change(out or choose_workspace(), model) as model_dir:
        removed = ", ".join(map(str, keep_versions(model_dir, count))) or "none"
        echo(f"Removed:   {removed}", *describe_state(model_dir))
