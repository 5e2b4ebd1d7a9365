"""Opens a page in the user's browser."""

import pathlib
import webbrowser


def open_page(page: pathlib.Path) -> bool:
    """Opens a local page in a browser; returns False if there is none."""
    try:
        return webbrowser.open(page.absolute().as_uri())
    except webbrowser.Error:
        return False
