"""Types `./graft kubeflow ...` for the tests, in this process, and a tiny spec to type it for."""

import copy

import kfp
import yaml
from command_line import make_typist

from kubeflow.cli import main

SPEC = {
    "pipelineInfo": {"name": "graft"},
    "schemaVersion": "2.1.0",
    "root": {
        "dag": {"tasks": {}},
        "inputDefinitions": {
            "parameters": {
                "data": {"parameterType": "STRING"},
                "window_end": {"parameterType": "STRING", "defaultValue": ""},
                "window_days": {"parameterType": "NUMBER_INTEGER", "defaultValue": 0.0},
                "min_accuracy": {"parameterType": "NUMBER_DOUBLE", "defaultValue": -1.0},
                "warm_start": {"parameterType": "BOOLEAN", "defaultValue": False},
                "force": {"parameterType": "NUMBER_INTEGER", "defaultValue": 0.0},
            }
        },
    },
}
DATA = "--param=data=s3://bucket/photos"  # the parameter without a default
_CONFIGURED = ("ENDPOINT", "UI_ENDPOINT", "SA_TOKEN_PATH", "IAP_OAUTH2_CLIENT_ID")


def write_spec(path, **parameters):
    """Writes the spec with other parameters than its own; None takes one away."""
    spec = copy.deepcopy(SPEC)
    known = spec["root"]["inputDefinitions"]["parameters"]
    known.update(parameters)
    spec["root"]["inputDefinitions"]["parameters"] = {name: p for name, p in known.items() if p is not None}
    path.write_text(yaml.safe_dump(spec))
    return path


def make_graft(folder, monkeypatch, capsys):
    """Returns a function that types a command in a folder where graft.yaml is, for a person without configuration."""
    write_spec(folder / "graft.yaml")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(kfp.Client, "_LOCAL_KFP_CONTEXT", str(folder / "home" / "context.json"))
    for name in _CONFIGURED:
        monkeypatch.delenv(f"KF_PIPELINES_{name}", raising=False)
    return make_typist(monkeypatch, capsys, main, "kubeflow")


def only(items):
    """Returns the single item of a dict."""
    (item,) = items.values()
    return item
