"""Opens a page in the user's browser."""

import contextlib
import os
import pathlib
import threading
import webbrowser


def open_page(page: pathlib.Path) -> bool:
    """Opens a local page in a browser; returns False if there is none."""
    try:
        return webbrowser.open(page.absolute().as_uri())
    except webbrowser.Error:
        return False


def open_address(address: str) -> threading.Thread:
    """Opens an address in a browser, if there is one that runs scripts; returns the thread that does so.

    In a thread, because a browser may take long to start, or never return.
    """
    thread = threading.Thread(target=_open, args=(address,), daemon=True, name="browser")
    thread.start()
    return thread


def _open(address: str) -> None:
    with contextlib.suppress(webbrowser.Error, OSError):
        # Without a display, Python names lynx or w3m, which would take the terminal and run no script.
        if type(webbrowser.get()) is not webbrowser.GenericBrowser or os.environ.get("BROWSER"):
            webbrowser.open(address)
