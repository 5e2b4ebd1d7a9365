"""A run does what `./graft check` has said of the folder: the two read alike."""

import json

import pytest
from command_line import make_typist
from image_files import spoil, write_images
from rich.console import Console

from components.records.image_list import IMAGES, read_image_list
from kubeflow.cli import main
from pipeline.config.load import load_config
from pipeline.local.run import run_pipeline
from schema.errors import DataError


@pytest.mark.slow
def test_run_does_what_check_said(tmp_path, monkeypatch, capsys):
    """The same splits, the same files left out for the same reasons, and the same words where it stops."""
    monkeypatch.chdir(tmp_path)
    for label in ("cats", "dogs"):
        write_images(tmp_path / "photos", label, 20)
    spoil(tmp_path / "photos")
    found = json.loads(make_typist(monkeypatch, capsys, main)("check", "--json", "photos").out)

    config = load_config(None, {"data": "photos", "out": "out", "weights": "random", "image_size": 32})
    with pytest.raises(DataError) as stopped:
        run_pipeline(config, Console(quiet=True))

    assert str(stopped.value).startswith("\n".join(found["problems"]))
    [report] = (tmp_path / "out" / "pipeline" / "ExampleGen" / "report").glob("*/ingest.json")
    assert json.loads(report.read_text()) == found["report"]
    [quarantine] = (tmp_path / "out" / "runs").glob("*/quarantine.jsonl")
    assert [json.loads(line) for line in quarantine.read_text().splitlines()] == found["left_out"]
    assert len(read_image_list(str(quarantine.with_name(IMAGES)))) == sum(
        sum(counts.values()) for counts in found["report"]["counts"].values()
    )
    assert ": ./graft convert photos photos-jpeg\n" in str(stopped.value)
