"""Reads a compiled spec from its file, and checks the parameters of its runs."""

import dataclasses
import datetime
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable
from typing import Any

import yaml

from schema.errors import UsageError
from schema.version import VERSION
from serving.storage.regular import read_regular

WINDOW_END, WINDOW_DAYS, FORCE = "window_end", "window_days", "force"
# The server replaces this text in each run of a schedule. The layout is Go's, the time UTC
# (kubeflow/pipelines, backend/src/common/util/parameter_formatter.go).
SCHEDULED_DATE = "[[ScheduledTime.2006-01-02]]"
_SCHEMA = "2.1.0"  # the version that the server accepts (backend/src/apiserver/template/v2_template.go)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's takes a tenth of the time
_WRITE_ONE = "`./graft kubeflow compile` writes one."


@dataclasses.dataclass(frozen=True)
class CompiledSpec:
    """Compiled spec in a file.

    Attributes:
        path: path of the file.
        name: name of the pipeline.
        digest: SHA-256 of the content, in hex; the same however the YAML is laid out.
        parameters: declarations by name, as in the spec: parameterType, defaultValue, isOptional.
        pipeline_root: folder of its artifacts; the server does not read this from a spec.
        documents: the documents of the file: the pipeline spec, and the platform spec if there is one.
    """

    path: str
    name: str
    digest: str
    parameters: dict[str, dict[str, Any]]
    pipeline_root: str | None = None
    documents: tuple[dict[str, Any], ...] = ()

    @property
    def version_name(self) -> str:
        """Name of the pipeline version on a server; the same documents have the same name, and are uploaded once."""
        return f"{VERSION}-{self.digest[:12]}"

    def describe_pods(self) -> list[str]:
        """Returns a line for each task: what its pods have."""
        from kubeflow.pod_summary import describe_pods

        spec = next(document for document in self.documents if "pipelineInfo" in document)
        platform = next((document for document in self.documents if "platforms" in document), {})
        return describe_pods(spec, platform)


def read_spec(path: str) -> CompiledSpec:
    """Reads a spec that `./graft kubeflow compile` has written.

    Raises:
        UsageError: if the file is missing, or is not a pipeline spec.
    """
    if not path.endswith((".yaml", ".yml")):
        raise UsageError(f"{path}: expected a .yaml file: Kubeflow looks at the name. {_WRITE_ONE}")
    try:
        documents = [d for d in yaml.load_all(read_regular(path).decode(), Loader=_LOADER) if d is not None]
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}. {_WRITE_ONE}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not valid YAML: {' '.join(str(error).split())}. {_WRITE_ONE}") from None
    spec = next((d for d in documents if isinstance(d, dict) and "pipelineInfo" in d), {})
    info, root = spec.get("pipelineInfo"), spec.get("root")
    if not (isinstance(info, dict) and info.get("name") and isinstance(root, dict)):
        raise UsageError(f"{path}: not a pipeline spec: expected pipelineInfo, with a name, and root. {_WRITE_ONE}")
    if spec.get("schemaVersion") != _SCHEMA:
        raise UsageError(f"{path}: schemaVersion {spec.get('schemaVersion')}, expected {_SCHEMA}. {_WRITE_ONE}")
    content = json.dumps(documents, sort_keys=True, default=str).encode()
    parameters = root.get("inputDefinitions", {}).get("parameters", {})
    digest = hashlib.sha256(content).hexdigest()
    return CompiledSpec(path, info["name"], digest, parameters, spec.get("defaultPipelineRoot"), tuple(documents))


def make_parameters(
    spec: CompiledSpec,
    pairs: Iterable[str],
    window_end: str | None = None,
    window_days: int | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Parses the parameters of a run, each by the type that the spec declares.

    Args:
        spec: spec of the pipeline.
        pairs: texts NAME=VALUE.
        window_end: a date, or SCHEDULED_DATE.
        window_days: number of days.
        force: whether to train in any case.
    Returns:
        The values to send, by name; the server takes the others from the defaults of the spec.
    Raises:
        UsageError: if a parameter is unknown, given twice, of another type or missing; names it.
    """
    given = [_split(pair) for pair in pairs]
    options = {WINDOW_END: window_end, WINDOW_DAYS: window_days, FORCE: 1 if force else None}
    given += [("--" + name.replace("_", "-"), name, str(v)) for name, v in options.items() if v is not None]
    values: dict[str, Any] = {}
    for label, name, text in given:
        if name not in spec.parameters:
            known = ", ".join(sorted(spec.parameters)) or "none"
            raise UsageError(f"{label}: {spec.path} has no parameter {name}. It has: {known}.")
        if name in values:
            raise UsageError(f"{label}: {name} is given twice.")
        values[name] = _parse(label, text, spec.parameters[name].get("parameterType", ""))
    _check_date(values.get(WINDOW_END))
    missing = [name for name, p in spec.parameters.items() if name not in values and _is_required(p)]
    if missing:
        raise UsageError(*(f"missing parameter {name}: --param {name}=..." for name in missing))
    return values


def _split(pair: str) -> tuple[str, str, str]:
    name, equals, text = pair.partition("=")
    if not (name and equals):
        raise UsageError(f"--param: expected NAME=VALUE, got {pair!r}.")
    return f"--param {name}", name, text


def _is_required(parameter: dict[str, Any]) -> bool:
    return "defaultValue" not in parameter and not parameter.get("isOptional")


def _check_date(text: Any) -> None:
    if not text or text == SCHEDULED_DATE:
        return
    try:
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", str(text), re.ASCII):  # newer releases of Python accept other formats
            raise ValueError
        datetime.date.fromisoformat(str(text))
    except ValueError:
        raise UsageError(f"{WINDOW_END}: expected a date such as 2026-11-23, got {text!r}.") from None


def _parse(label: str, text: str, kind: str) -> Any:
    if kind not in _TYPES:
        raise UsageError(f"{label}: the spec declares the type {kind or 'none'}, which this command cannot send.")
    expected, parse = _TYPES[kind]
    try:
        return parse(text)
    except (ValueError, KeyError):
        raise UsageError(f"{label}: expected {expected}, got {text!r}.") from None


def _parse_number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def _parse_json(kind: type) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        value = json.loads(text)
        if not isinstance(value, kind):
            raise ValueError
        return value

    return parse


_TYPES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "STRING": ("text", str),
    "NUMBER_INTEGER": ("a whole number", int),
    "NUMBER_DOUBLE": ("a number", _parse_number),
    "BOOLEAN": ("true or false", lambda text: {"true": True, "1": True, "false": False, "0": False}[text.lower()]),
    "LIST": ("a JSON list", _parse_json(list)),
    "STRUCT": ("a JSON object", _parse_json(dict)),
}
