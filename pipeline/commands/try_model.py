"""`./graft try`: shows a page to drop images on."""

import click

from pipeline.commands.configured import model_options
from pipeline.config.here import choose_workspace
from pipeline.console.printing import echo


@click.command("try", short_help="Drop pictures on a page, and see the answers.")
@click.option("--url", metavar="URL", help="Model server.  [http://127.0.0.1:8501, or else one that is started here]")
@click.option("--port", default=0, type=click.IntRange(0, 65535), metavar="N", help="Port of the page.  [a free port]")
@click.option("--no-browser", is_flag=True, help="Print the address alone; open no browser.")
@model_options
def try_model(url: str | None, port: int, no_browser: bool, out: str | None, model: str | None) -> int:
    """Show a page to drop, paste or choose pictures, with the model's answer to each.

    The page is for this machine: it listens on 127.0.0.1. It asks a model server by TensorFlow Serving's REST API, that
    of ./graft serve if it serves a version of this workspace; else it starts the built-in server, and stops it at the
    end. Ctrl-C or SIGTERM ends it, with exit code 0.

    \b
    ./graft try
    ./graft try --out graft-demo --port 8600 --no-browser
    ./graft try --url http://localhost:8501 --model graft
    """
    from pipeline.try_page.start import try_model as serve_page

    return serve_page(out or choose_workspace(), url, model, port, not no_browser, echo)
