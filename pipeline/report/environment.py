"""Environment of the templates of pages, which makes each text printable and escapes it for HTML."""

import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import jinja2

from pipeline.report import formats
from pipeline.report.outcome import WORKSPACE
from pipeline.workspace.manifest import RunManifest
from pipeline.workspace.workspace import Workspace
from schema.text import printable_lines, write_counted

_TEMPLATES = pathlib.Path(__file__).with_name("templates")


def make_environment(paths: Mapping[str, str]) -> jinja2.Environment:
    """Builds the environment.

    Args:
        paths: absolute paths that texts may have, with their replacements, as `list_paths` returns them.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=functools.partial(_finalize, paths),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": formats.write_percent,
        "count": formats.write_count,
        "counted": write_counted,
        "duration": formats.write_duration,
        "figure": formats.write_figure,
    }
    return environment


def list_paths(workspace: Workspace, *manifests: RunManifest | None) -> dict[str, str]:
    """Returns absolute paths that texts may have, with their replacements in the page, the longest path first."""
    names = {str(workspace.root): WORKSPACE}
    for manifest in manifests:
        config = manifest.config.model_dump() if manifest else {}
        for key in ("data", "weights", "out"):
            path = config.get(key)
            if isinstance(path, str) and path.startswith("/") and len(path.rstrip("/")) > 1:
                names.setdefault(path.rstrip("/"), WORKSPACE if key == "out" else pathlib.PurePath(path).name)
    return dict(sorted(names.items(), key=lambda item: -len(item[0])))


def _finalize(paths: Mapping[str, str], value: Any) -> Any:
    if value is None:
        return ""
    if type(value) is not str:  # numbers, and Markup, which is HTML already
        return value
    for path, name in paths.items():
        value = value.replace(path, name)
    return printable_lines(value)
