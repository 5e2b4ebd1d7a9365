"""A run does what `./graft check` has said of the folder: the two read alike."""

import json

import pytest
from command_line import make_typist
from image_files import spoil, write_images
from rich.console import Console

from kubeflow.cli import main
from pipeline.load import load_config
from pipeline.run import run_pipeline

SETTINGS = {
    "image_size": 32,
    "weights": "random",
    "head_units": (8,),
    "head_epochs": 1,
    "fine_tune_epochs": 0,
    "max_bad_fraction": 0.5,
}


@pytest.mark.slow
def test_run_does_what_check_said(tmp_path, monkeypatch, capsys, small_base):
    """The same splits and the same files left out, for the same reasons."""
    monkeypatch.chdir(tmp_path)
    for label in ("cats", "dogs"):
        write_images(tmp_path / "photos", label, 20)
    spoil(tmp_path / "photos")
    (tmp_path / "graft.toml").write_text("max_bad_fraction = 0.5\nfine_tune_epochs = 0\n")
    found = json.loads(make_typist(monkeypatch, capsys, main)("check", "--json", "photos").out)

    config = load_config(None, {"data": "photos", "out": "out", **SETTINGS})
    outcome = run_pipeline(config, Console(quiet=True))

    assert outcome.ingest == found["report"]
    quarantine = tmp_path / "out" / "runs" / outcome.run_id / "quarantine.jsonl"
    assert [json.loads(line) for line in quarantine.read_text().splitlines()] == found["left_out"]
    assert set(found["warnings"]) <= set(outcome.warnings)
