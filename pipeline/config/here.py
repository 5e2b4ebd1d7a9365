"""Finds the default configuration and workspace of a command: those in the current folder."""

import os

from pipeline import CONFIG_FILE

DEFAULT_OUT, DEMO_OUT = "graft-out", "graft-demo"
DEMO_DATA = "digits"  # folder of the demo's images in its workspace


def find_config() -> str | None:
    """Returns the configuration file of the current folder; None if there is none."""
    return CONFIG_FILE if os.path.exists(CONFIG_FILE) else None


def find_configured_workspace() -> str:
    """Returns the workspace of `./graft run` in the current folder."""
    if not find_config():
        return DEFAULT_OUT
    from pipeline.config.load import load_config

    return load_config(CONFIG_FILE, {"data": os.devnull}).out


def choose_workspace() -> str:
    """Returns the default workspace of predict, serve and releases.

    This is the workspace of `./graft run` if the current folder has a configuration, or if a run began in that
    workspace, pushed or not. Otherwise it is the demo's, if it exists. Otherwise the
    demo's model would answer in place of the user's own.
    """
    out = find_configured_workspace()
    return out if find_config() or _is_used(out) or not os.path.isdir(DEMO_OUT) else DEMO_OUT


def _is_used(out: str) -> bool:
    """Tells whether a workspace has a run or a model; a run that was refused at its start leaves neither."""
    folders = (os.path.join(out, name) for name in ("runs", "serving"))
    return any(os.path.isdir(folder) and os.listdir(folder) for folder in folders)
