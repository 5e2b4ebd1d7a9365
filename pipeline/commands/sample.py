"""`./graft sample`: writes sample data as class folders."""

import click

from pipeline.console.printing import echo
from schema.text import quote


@click.group()
def sample() -> None:
    """Write sample data as class folders."""


@sample.command(short_help="1797 images of handwritten digits, inside scikit-learn.")
@click.argument("folder", metavar="DIR")
def digits(folder: str) -> None:
    """The 1797 images of handwritten digits inside scikit-learn, 8x8 pixels, as PNG files in 10 folders.

    \b
    ./graft sample digits digits/
    """
    from pipeline.downloads.sample import write_digits

    echo(f"{write_digits(folder)} images in {folder}")
    echo(f"Next:     ./graft run {quote(folder)} --image-size 32")


@sample.command("cats-and-dogs", short_help="3000 photographs of cats and dogs.")
@click.argument("folder", metavar="DIR")
def cats_and_dogs(folder: str) -> None:
    """3000 photographs of cats and dogs: the filtered archive that many tutorials use (68 MB, downloaded once).

    \b
    ./graft sample cats-and-dogs photos/
    """
    from pipeline.downloads.sample import write_cats_and_dogs

    echo(f"{write_cats_and_dogs(folder)} images in {folder}")
    echo(f"Next:     ./graft run {quote(folder)}")
