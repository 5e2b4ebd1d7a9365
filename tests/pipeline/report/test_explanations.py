"""Heat maps of the page: on the mistakes, from the run's own model, and a sentence where there are none."""

import base64
import io
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from run_folders import RUN, make_workspace, write_trained

from pipeline.report import explanations
from pipeline.report.page import write_report
from serving.client.refusals import ONE_CELL

ALT = "Heat map over the same image: what speaks for "


@pytest.fixture
def write_page(tmp_path, models):
    """Returns a function that writes the page of a run with a model; gives its mistakes as HTML."""

    def write(model, where="pipeline/Trainer/model/7/Format-Serving", **changes):
        workspace = make_workspace(tmp_path)
        if model:
            shutil.copytree(models / model, workspace.root / where)
        write_trained(workspace, tmp_path / "data", **{"each": 40} | changes)
        page = write_report(workspace, RUN).read_text()
        return page[page.index("The most confident mistakes") : page.index("The least certain images")]

    return write


TRAINED = {"trained_model": "pipeline/Trainer/model/7/Format-Serving"}


def test_each_of_at_most_24_mistakes_has_a_heat_map(write_page):
    """Beside its picture, of the same size, warm in the upper left quarter."""
    mistakes = write_page("new", **TRAINED, classes=tuple(map(str, range(12))), each=40)
    shown = re.findall(rf'<img src="data:image/jpeg;base64,([^"]+)" width="(\d+)" height="(\d+)" alt="{ALT}', mistakes)
    assert len(shown) == 24 == mistakes.count('alt="Test image of')
    assert "The second picture has a heat map (Grad-CAM)" in mistakes
    assert "A heat map has 2 x 2 cells here, so it is coarse" in mistakes
    assert {size[1:] for size in shown} == {("40", "30")}
    pixels = np.mean([np.asarray(Image.open(io.BytesIO(base64.b64decode(uri))), float) for uri, *_ in shown], axis=0)
    assert pixels[:10, :10, 0].mean() > pixels[20:, 30:, 0].mean() + 30


def test_the_pushed_version_is_asked_where_the_artifact_is_gone(write_page):
    assert ALT in write_page("new", "serving/graft/7", pushed_version=7, trained_model=None)


def test_the_page_says_why_there_are_no_heat_maps(write_page):
    """An earlier Graft's model."""
    mistakes = write_page("old", **TRAINED)
    assert "There are no heat maps: the model of this run has no signature explain, or cannot be loaded." in mistakes
    assert ALT not in mistakes
    assert 'alt="Test image of' in mistakes


def test_maps_of_one_cell_are_left_out(write_page):
    """The demo's network sees 32 x 32 pixels: each picture would have one colour all over."""
    mistakes = write_page("one cell", **TRAINED)
    assert f"There are no heat maps: {ONE_CELL}." in mistakes
    assert ALT not in mistakes


def test_the_page_of_a_run_whose_model_is_gone_is_written(write_page):
    assert "There are no heat maps: the model of this run is gone." in write_page("", **TRAINED)


def test_photographs_are_read_within_a_limit(tmp_path, monkeypatch):
    """All of them are in memory at the same time; a file that is gone is no error."""
    for name in "abc":
        (tmp_path / name).write_bytes(b"x" * 40)
    monkeypatch.setattr(explanations, "_MOST_BYTES", 90)
    assert explanations._choose(str(tmp_path), ["a", "gone", "b", "c"]) == ["a", "b"]
