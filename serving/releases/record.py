"""`assets.extra/graft.json`: what a pushed version was made of, and how well it did.

Whatever is wrong with the file, the version is served, listed, rolled back and promoted as before. It is compared with
nothing, and `Version.problem` says why.
"""

from types import EllipsisType, NoneType
from typing import Any

from serving.storage import side_files

# What the rest of Graft reads of a record, and its type. All of it may be missing: an older Graft wrote less. A tuple
# holds alternatives, [x] is a list of x, and {...: x} an object in which every value is x.
_CLASSES = [str]
_SHAPE: dict[str | EllipsisType, Any] = {
    "classes": _CLASSES,
    "config": {"data": str},
    "resolved": {"classes": _CLASSES, "salt": str, "baseline": str, "served": str},
    "request_key": str,
    "settings_key": str,
    "salt": int,
    "fingerprint": str,
    "counts": {...: {...: int}},
    "window_end": str,
    "run_id": (str, NoneType),
    "metrics": {"accuracy": (float, int, NoneType)},
    "pushed_version": int,
    "pushed_at": str,
    "canary": bool,
    "model_digest": str,
}
_KINDS = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    NoneType: "null",
}


def read_record(path: str) -> tuple[dict[str, Any], str]:
    """Reads the record of a version.

    Args:
        path: of the file.
    Returns:
        The record and "". An empty one where there is no file: Graft did not push that model. An empty one and the
        reason, where there is a file that cannot be read.
    """
    try:
        record = side_files.read_json(path)
    except side_files.DamagedError as error:
        return {}, str(error)
    if record is None:
        return {}, ""
    problem = _find_problem(record, _SHAPE, "")
    return ({}, f"not a record of Graft's: {problem}") if problem else (record, "")


def _find_problem(value: Any, shape: Any, name: str) -> str:
    """Says which part of a value has not the type that it should have; "" if there is none."""
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return _describe(value, (dict,), name)
        parts = [(f"{name}.{key}".strip("."), value[key], shape.get(key, shape.get(...))) for key in value]
        parts = [part for part in parts if part[2] is not None]
    elif isinstance(shape, list):
        if not isinstance(value, list):
            return _describe(value, (list,), name)
        parts = [(f"{name}[{index}]", item, shape[0]) for index, item in enumerate(value)]
    else:
        kinds = shape if isinstance(shape, tuple) else (shape,)
        return "" if type(value) in kinds else _describe(value, kinds, name)
    return next((problem for name, item, inner in parts if (problem := _find_problem(item, inner, name))), "")


def _describe(value: Any, kinds: tuple[type, ...], name: str) -> str:
    expected = _KINDS[kinds[0]]  # the others are special cases of it, or nothing
    return f"{name + ': ' if name else ''}expected {expected}, got {_KINDS[type(value)]}"
