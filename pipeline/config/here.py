"""Finds the configuration and the workspace that a command means where none is named: those in the current folder."""

import os

from pipeline import CONFIG_FILE

DEFAULT_OUT, DEMO_OUT = "graft-out", "graft-demo"


def find_config() -> str | None:
    """Returns the configuration file of the current folder, if there is one."""
    return CONFIG_FILE if os.path.exists(CONFIG_FILE) else None


def find_configured_workspace() -> str:
    """Returns the workspace of `./graft run` in the current folder."""
    if not find_config():
        return DEFAULT_OUT
    from pipeline.config.load import load_config

    return load_config(CONFIG_FILE, {"data": os.devnull}).out


def choose_workspace() -> str:
    """Returns the workspace that predict, serve and releases look into where none is named.

    That of `./graft run` here, where a configuration is here or a run began there, pushed or not: another model's
    answer would be taken for its own. Else the demo's, if that is here.
    """
    out = find_configured_workspace()
    return out if find_config() or _is_used(out) or not os.path.isdir(DEMO_OUT) else DEMO_OUT


def _is_used(out: str) -> bool:
    """Says whether a workspace has a run or a model; a run that was refused at its start leaves neither."""
    folders = (os.path.join(out, name) for name in ("runs", "serving"))
    return any(os.path.isdir(folder) and os.listdir(folder) for folder in folders)
