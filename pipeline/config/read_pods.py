"""Reads the table `[kubeflow]` of graft.toml, and names each wrong key with what was expected."""

import difflib
import json
from collections.abc import Iterator
from typing import Any

import pydantic
from pydantic.fields import FieldInfo

from pipeline.config import pods
from pipeline.config.pod_checks import list_problems
from pipeline.config.pods import TASKS, Part, Pods, TaskPods
from schema.errors import UsageError

TABLE = "kubeflow"
PARTS: dict[str, type[Part]] = {
    "tolerations": pods.Toleration,
    "volume_claims": pods.VolumeClaim,
    "secrets": pods.Source,
    "config_maps": pods.Source,
    "scratch": pods.Scratch,
    "tasks": TaskPods,
}
_WRITABLE = "make the folder writable for user 10001 once, as docs/kubeflow.md shows"
# Wishes that Kubeflow's platform spec cannot express, by key without "_"; the pods would not have them.
_UNSAYABLE = {
    "readonly": "the platform spec of Kubeflow cannot mount a claim read-only. Use a claim with the access mode "
    "ReadOnlyMany, or mount it writable",
    "fsgroup": f"the platform spec of Kubeflow has no fsGroup, so a volume keeps its group: {_WRITABLE}",
    "runasuser": f"the pods run as user 10001, as the image says: {_WRITABLE}",
    "serviceaccount": "the platform spec of Kubeflow has no service account: all pods of a run have that of the "
    "server's configuration, and its administrator grants it the rights",
}
_UNSAYABLE |= {
    "serviceaccountname": _UNSAYABLE["serviceaccount"],
    "securitycontext": _UNSAYABLE["runasuser"],
    "runasgroup": _UNSAYABLE["runasuser"],
}
_KEY, _UNKNOWN = "[key]", "extra_forbidden"  # of pydantic's errors
_KEYS_EXPECTED = {"env": "the name of an environment variable"}
_LABEL_EXPECTED = "the key of a label, such as team or cloud.google.com/gke-accelerator"


def read_pods(table: Any, source: str) -> Pods:
    """Checks the table `[kubeflow]`.

    Args:
        table: the table, as TOML has it.
        source: file or options that the table comes from, for messages.
    Raises:
        UsageError: with each unknown or wrong key, and each wish that no pod can have.
    """
    if not isinstance(table, dict):
        raise UsageError(f"{source}: {TABLE}: expected a table, [{TABLE}] on a line of its own; got {table!r}.")
    try:
        read = Pods.model_validate(table)
    except pydantic.ValidationError as error:
        raise UsageError(*dict.fromkeys(f"{source}: {_describe(e)}" for e in error.errors())) from None
    if problems := [f"{source}: {TABLE}.{problem}" for problem in list_problems(read)]:
        raise UsageError(*problems)
    return read


def _describe(error: Any) -> str:
    location = error["loc"]
    if error["type"] == _UNKNOWN:
        return _describe_unknown(location)
    if location[0] == "tasks" and location[-1] == _KEY:
        close = difflib.get_close_matches(location[1], TASKS, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"Known: {', '.join(TASKS)}."
        return f"unknown task {_name(location[:2])!r}. {hint}"
    if location[-1] == _KEY:
        expected = _KEYS_EXPECTED.get(str(location[-3]), _LABEL_EXPECTED)
        return f"{_name(location[:-2])}: expected {expected}; got {location[-2]}."
    expected = next((_expected(field) for _, field in reversed(list(_walk(location)))), "")
    if error["type"] == "missing":
        return f"{_name(location)}: missing; expected {expected}."
    got = "" if "env" in location else f"; got {json.dumps(error['input'], default=str)}"  # it may be a password
    return f"{_name(location)}: expected {expected}{got}."


def _describe_unknown(location: tuple[Any, ...]) -> str:
    name, wish = _name(location), str(location[-1]).lower().replace("_", "").replace("-", "")
    if wish in _UNSAYABLE:
        return f"{name}: {_UNSAYABLE[wish]}."
    known = list(_find_part(location).model_fields)
    if location[0] == "tasks" and location[-1] in Pods.model_fields:
        return f"{name}: holds for all tasks. Write it in [{TABLE}]."
    close = difflib.get_close_matches(str(location[-1]), known, n=1)
    hint = f"Did you mean {_name((*location[:-1], close[0]))}?" if close else f"Known: {', '.join(known)}."
    return f"unknown key {name!r}. {hint}"


def _find_part(location: tuple[Any, ...]) -> type[Part]:
    return next((part for part, _ in reversed(list(_walk(location[:-1])))), Pods)


def _walk(location: tuple[Any, ...]) -> Iterator[tuple[type[Part], FieldInfo]]:
    """Yields the fields on the way to a location, each with the part below it."""
    part: type[Part] = Pods
    for step in location:
        if step in part.model_fields:
            field = part.model_fields[step]
            part = PARTS.get(step, part)
            yield part, field


def _expected(field: FieldInfo) -> str:
    extra: Any = field.json_schema_extra
    return str(extra["expected"])


def _name(location: tuple[Any, ...]) -> str:
    return TABLE + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
