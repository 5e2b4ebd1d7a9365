"""`./graft init`: writes the first `graft.toml`."""

import click

from pipeline import CONFIG_FILE
from pipeline.commands.check import inspect_folder, look_at_folder
from pipeline.console.printing import echo, make_console
from schema.errors import DataError

_SAMPLE = 200  # images to read; takes some seconds


@click.command(short_help="Look at a folder, and write a commented graft.toml.")
@click.argument("data", required=False, metavar="[DATA]")
@click.option("--config", "file", default=CONFIG_FILE, show_default=True, metavar="FILE", help="File to write.")
@click.option("--minimal", is_flag=True, help="Write only what must be set.")
def init(data: str | None, file: str, minimal: bool) -> None:
    """Write a graft.toml with everything that can be set, as comments; of DATA, look at a sample of its images first.

    \b
    ./graft init photos/              then: ./graft run
    ./graft init --config night.toml  then: ./graft run --config night.toml
    """
    from pipeline.config.new_file import check_new, describe_next, write_template

    console = make_console()
    check_new(file)
    classes: tuple[str, ...] = ()
    if data:
        from pipeline.check.report import print_findings
        from pipeline.config.load import load_config

        config = load_config(None, {"data": data})
        listing, early = look_at_folder(config)
        findings = inspect_folder(config, listing, early, console, sample=_SAMPLE)
        if findings.data_problems:  # another workspace can be named in the file
            raise DataError(*findings.data_problems)
        classes = findings.listing.labels
        print_findings(findings, config, console)
    write_template(file, data, classes, minimal)
    echo(*describe_next(file, data))
