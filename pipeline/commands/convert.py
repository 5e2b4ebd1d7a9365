"""`./graft convert`: copies a folder of images, and converts formats that Graft does not read to JPEG."""

import sys

import click


@click.command(short_help="Turn HEIC, WebP, AVIF, TIFF and others into JPEG.")
@click.argument("folder", metavar="DIR")
@click.argument("out", metavar="OUT")
@click.option(
    "--max-megapixels",
    default=100.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    metavar="N",
    help="Leave out larger images, as a run does.",
)
@click.option("--follow-links", is_flag=True, help="Follow links that lead out of DIR.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the summary.")
def convert(folder: str, out: str, max_megapixels: float, follow_links: bool, as_json: bool) -> None:
    """Copy a folder of images to OUT, so that a run can read all of them.

    HEIC, WebP, AVIF, TIFF, JPEG 2000 and Netpbm become JPEG: upright, in sRGB, without metadata. JPEG, PNG, GIF and
    BMP are copied as they are; a JPEG with an EXIF orientation is written upright. The first bytes of a file decide,
    not its name. What cannot be converted is listed and left out, and the exit code is 3.

    OUT may be there. No file in it is overwritten. A file with the modification time of its source counts as
    written, so the same command again does only what is missing. Any other file in the place of a new one stays, and
    its source is listed as left out: remove the file to convert the source again.

    \b
    ./graft convert photos/ photos-jpeg/     then: ./graft run photos-jpeg/
    """
    from pipeline.convert.convert import convert_folder
    from pipeline.convert.summary import print_summary

    summary = convert_folder(folder, out, max_megapixels, follow_links)
    print_summary(summary, as_json)
    if summary.problems:
        sys.exit(3)
