"""`./graft model`: shows the network as a table."""

import os

import click

from pipeline.config.here import find_config


@click.command(short_help="Show the network as a table.")
@click.option("--image-size", type=int, metavar="N")
@click.option("--fine-tune-from", metavar="LAYER|all")
@click.option(
    "--classes", "num_classes", type=click.IntRange(2), metavar="N", help="Number of classes, for the size of the head."
)
def model(image_size: int | None, fine_tune_from: str | None, num_classes: int | None) -> None:
    """Show the network as a table: which layers there are and which phase trains them.

    As graft.toml has it, if there is one here; else with the defaults, for two classes.

    \b
    ./graft model
    ./graft model --fine-tune-from conv4 --classes 10
    """
    from pipeline.config.load import load_config
    from serving.process.muting import muted_stderr

    options = {"data": os.devnull, "image_size": image_size, "fine_tune_from": fine_tune_from}
    config = load_config(find_config(), options)
    with muted_stderr():
        from pipeline.commands.network_table import print_network

    print_network(config, num_classes or len(config.classes or ("one", "another")))
