"""Options of `./graft kubeflow compile` for the keys of `[kubeflow]` that most pipelines need."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import click

from schema.errors import UsageError

_OPTIONS = {
    "env": ("NAME=VALUE", "An environment variable of the pods; may be repeated."),
    "secret_env": ("SECRET:KEY=NAME", "A key of a secret as a variable; may be repeated."),
    "volume_claim": ("CLAIM:/PATH", "A volume claim and its folder in the pods; may be repeated."),
    "node_selector": ("[TASK:]LABEL=VALUE", "A label that nodes must have, for all tasks or one; may be repeated."),
    "accelerator": ("TASK:RESOURCE[=N]", "Accelerators of a task, as Trainer:nvidia.com/gpu; may be repeated."),
    "memory_request": ("TASK:SIZE", "Memory that a node must have free for a task, as 8Gi; may be repeated."),
}
POD_OPTIONS = (*_OPTIONS, "scratch")


def pod_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options to a command; each has its texts in a parameter of its name."""
    help_text = "Size of an empty volume for temporary files, as 20Gi."
    command = click.option("--scratch", metavar="SIZE", help=help_text)(command)
    for name, (metavar, text) in reversed(_OPTIONS.items()):
        command = click.option(f"--{name.replace('_', '-')}", name, multiple=True, metavar=metavar, help=text)(command)
    return command


def add_options(table: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Adds options to the table `[kubeflow]`; an option overrides the same key.

    Args:
        table: the table of the file.
        options: values of `pod_options` by name.
    Raises:
        UsageError: if an option has another form.
    """
    table = copy.deepcopy(table)
    for text in options["env"]:
        name, value = _split("--env", text, "=")
        table.setdefault("env", {})[name] = value
    for text in options["secret_env"]:
        secret, rest = _split("--secret-env", text, ":")
        key, name = _split("--secret-env", rest, "=")
        table.setdefault("secrets", []).append({"name": secret, "env": {name: key}})
    for text in options["volume_claim"]:
        claim, path = _split("--volume-claim", text, ":")
        table.setdefault("volume_claims", []).append({"name": claim, "mount_path": path})
    for text in options["node_selector"]:
        label, value = _split("--node-selector", text, "=")
        task, colon, own = label.partition(":")
        place = _find_task(table, task) if colon else table
        place.setdefault("node_selector", {})[own if colon else label] = value
    for text in options["accelerator"]:
        task, rest = _split("--accelerator", text, ":")
        resource, _, count = rest.partition("=")
        _find_task(table, task).update(accelerator=resource, accelerator_count=_parse_count(text, count or "1"))
    for text in options["memory_request"]:
        task, size = _split("--memory-request", text, ":")
        _find_task(table, task)["memory_request"] = size
    if options["scratch"]:
        table["scratch"] = {**table.get("scratch", {}), "size": options["scratch"]}
    return table


def _split(option: str, text: str, by: str) -> Sequence[str]:
    left, found, right = text.partition(by)
    if not (left and found and right):
        name = option.removeprefix("--").replace("-", "_")
        raise UsageError(f"{option}: expected {_OPTIONS[name][0]}.")
    return left, right


def _find_task(table: dict[str, Any], task: str) -> dict[str, Any]:
    own: dict[str, Any] = table.setdefault("tasks", {}).setdefault(task, {})
    return own


def _parse_count(text: str, count: str) -> int:
    if not count.isdecimal():
        raise UsageError(f"--accelerator: expected a whole number behind =, got {text}.")
    return int(count)
