"""`./graft compare`: what differs between two runs, as text, JSON and page."""

import html
import io
import itertools
import json
import os
import pathlib
import re
import shutil

import pytest
from command_line import make_typist
from compared_runs import FLIPPED, A, B, write_embeddings, write_record, write_runs

from components.records.comparison import ComparedMetric
from components.records.image_list import IMAGES, ListedImage, read_image_list, write_image_list
from components.records.predictions import PREDICTIONS
from pipeline.cli import main
from pipeline.compare import page as pages
from pipeline.compare.compare import compare
from pipeline.compare.sides import find_side
from pipeline.compare.text import print_comparison
from pipeline.console.printing import make_console
from pipeline.workspace.workspace import Workspace
from schema.errors import UsageError

OLD = pathlib.Path(__file__).parents[2] / "fixtures" / "graft_0_2_0"
EVIL = "<script>alert(1)<|script> \x1b[2J\u202e[bold]"


@pytest.fixture
def workspace(tmp_path):
    return write_runs(tmp_path)


def compare_runs(workspace, before=A, now=B):
    return compare(workspace, *(find_side(workspace, name, None) for name in (before, now)))


def render_page(workspace, before=A, now=B):
    sides = [find_side(workspace, name, None) for name in (before, now)]
    return pages.render(workspace, *sides, compare(workspace, *sides))


def write_text(comparison, width):
    """Returns the lines that a terminal of this width gets."""
    screen = io.StringIO()
    print_comparison(comparison, make_console(file=screen, width=width, force_terminal=True, color_system=None))
    return screen.getvalue().splitlines()


def test_images_that_were_added_removed_and_relabelled_are_found_by_their_bytes(workspace):
    """A relabelled image lies in another folder; it is neither added nor removed."""
    data = compare_runs(workspace).data
    assert (data.listed, data.added, data.removed, data.relabelled, data.moved) == (True, 2, 1, 1, 0)
    assert [image.path for image in data.some_added] == ["cats/new.png", "dogs/new.png"]
    assert [image.path for image in data.some_removed] == ["cats/gone.png"]
    assert [(i.path, i.label_before, i.label) for i in data.some_relabelled] == [("cats/moved.png", "dogs", "cats")]
    for row in data.classes:
        assert row.now == row.before + row.added - row.removed + row.gained - row.lost


def test_the_listed_images_have_each_class(workspace):
    """The first class would fill the list."""
    images = read_image_list(str(workspace.runs / B / IMAGES))
    images += [ListedImage("train", f"{i:064x}", f"cats/{i}.png", "cats") for i in range(30)]
    write_image_list(str(workspace.runs / B / IMAGES), images)
    data = compare_runs(workspace).data
    assert (data.added, len(data.some_added)) == (32, 20)
    assert {image.label for image in data.some_added[:2]} == {"cats", "dogs"}


def test_a_change_of_split_is_no_change_of_the_images(workspace):
    images = read_image_list(str(workspace.runs / A / IMAGES))
    moved = [ListedImage("val", i.digest, i.path, i.label) if i.path == "cats/old.png" else i for i in images]
    write_image_list(str(workspace.runs / A / IMAGES), moved)
    data = compare_runs(workspace).data
    assert (data.added, data.removed, data.moved) == (2, 1, 1)


def test_settings_code_and_versions_that_differ_are_named(workspace):
    found = compare_runs(workspace)
    assert [(c.name, c.before, c.now) for c in found.configuration] == [("head_epochs", "3", "5")]
    assert found.code == ["Trainer"]
    assert found.inputs == ["names, sizes or times of the files in the data folder"]
    assert [(c.name, c.before, c.now) for c in found.libraries] == [("keras", "3.12", "3.13")]
    accuracy = next(metric for metric in found.metrics if metric.name == "accuracy on test")
    assert (accuracy.before, accuracy.now) == (0.4, 0.6)


def test_metrics_with_a_unit_are_written_as_the_list_of_runs_writes_them(workspace):
    """The changes, too; JSON keeps bare numbers."""
    metrics = [
        ComparedMetric(name="memory, MB", before=916.341, now=1020.4),
        ComparedMetric(name="time of the run, s", before=222.07, now=41.32),
        ComparedMetric(name="median latency, ms (gRPC)", before=None, now=7.125),
    ]
    console = make_console(file=io.StringIO())
    print_comparison(compare_runs(workspace).model_copy(update={"metrics": metrics}), console)
    rows = [re.split(r"  +", line.strip()) for line in console.file.getvalue().splitlines()]
    assert ["memory", "916 MB", "1,020 MB", "+104 MB"] in rows
    assert ["time of the run", "3 min 42 s", "41.3 s", "-3 min 1 s"] in rows
    assert ["median latency (gRPC)", "7.1 ms"] in rows


def test_flipped_images_stand_beside_the_nearest_new_training_images(workspace):
    """New is what A did not train on, and what it knew as another class; an old image may be nearer."""
    found = compare_runs(workspace)
    assert (found.test.only_before, found.test.only_now, found.test.flipped) == (1, 2, 3)
    assert sorted(flip.path for flip in found.flips) == FLIPPED
    assert found.new_training_images == 3
    by_path = {flip.path: flip for flip in found.flips}
    assert [n.path for n in by_path["cats/mended.png"].nearest] == ["cats/new.png", "cats/moved.png", "dogs/new.png"]
    assert by_path["dogs/spoilt.png"].nearest[0].path == "dogs/new.png"
    assert by_path["cats/mended.png"].nearest[1].label_before == "dogs"
    assert found.notes == []


def test_test_images_without_embeddings_are_listed_without_neighbours(workspace):
    """They may be pruned."""
    shutil.rmtree(workspace.embeddings)
    write_embeddings(workspace, [i for i in read_image_list(str(workspace.runs / B / IMAGES)) if i.split == "train"])
    found = compare_runs(workspace)
    assert [flip.nearest for flip in found.flips] == [[], [], []]
    [note] = found.notes
    assert note.startswith("3 of 3 listed test images have no stored embedding")
    assert "by the cosine" not in render_page(workspace)


def test_a_run_compared_with_itself_differs_in_nothing(workspace):
    found = compare_runs(workspace, B, B)
    assert (found.data.classes, found.configuration, found.code, found.inputs, found.libraries) == ([], [], [], [], [])
    assert (found.flips, found.test.p_value, found.new_training_images) == ([], 1.0, 0)
    assert any("the same images in the same splits" in line for line in write_text(found, 100))


def test_the_list_of_flips_is_cut_and_says_so(workspace, monkeypatch):
    monkeypatch.setattr("pipeline.compare.compare.MOST_FLIPS", 1)
    found = compare_runs(workspace)
    assert (len(found.flips), found.more_flips) == (1, 2)
    assert "3 test images have another predicted class in B; the first 1:" in "\n".join(write_text(found, 120))
    assert "2 more are not shown" in render_page(workspace)


@pytest.mark.parametrize("name", ["v6", "6", "graft-out/serving/graft/6"])
def test_a_version_is_compared_by_the_run_that_made_it(workspace, monkeypatch, name):
    monkeypatch.chdir(workspace.root.parent)
    found = compare_runs(workspace, name, B)
    assert (found.before.run_id, found.before.version, found.test.images) == (A, 6, 5)


def test_a_version_whose_folder_is_gone_is_found_by_the_manifests(workspace):
    """Version 7 was pruned; its run is still there."""
    assert compare_runs(workspace, A, "v7").now.run_id == B
    shutil.rmtree(workspace.root / "serving")
    assert compare_runs(workspace, "v6", "v7").before.run_id == A


def test_a_version_whose_run_is_gone_is_compared_by_its_record(workspace):
    shutil.rmtree(workspace.runs / A)
    found = compare_runs(workspace, "v6", B)
    assert found.before.run_id is None
    assert found.test is None
    assert f"The run of version 6, {A}, is gone: its record has no images and predictions." in found.notes
    assert "cannot be compared image by image" in render_page(workspace, "v6", B)


DAMAGE = {
    "no embeddings": (lambda w: shutil.rmtree(w.embeddings), "no longer stored"),
    "pruned embeddings": (lambda w: [p.unlink() for p in w.embeddings.rglob("*.arrow")], "have no stored embedding"),
    "torn predictions": (lambda w: (w.runs / A / PREDICTIONS).write_bytes(b"PAR1torn"), f"{A}/{PREDICTIONS} cannot be"),
    "torn images": (lambda w: (w.runs / B / IMAGES).write_bytes(b"PAR1torn"), f"{B}/{IMAGES} cannot be read"),
    "a folder for images": (
        lambda w: [(w.runs / B / IMAGES).unlink(), (w.runs / B / IMAGES).mkdir()],
        f"{B}/{IMAGES} cannot be read",
    ),
    "a pipe for predictions": (
        lambda w: [(w.runs / A / PREDICTIONS).unlink(), os.mkfifo(w.runs / A / PREDICTIONS)],
        f"{A}/{PREDICTIONS} cannot be read: it is no regular file",
    ),
    "torn manifest": (lambda w: (w.runs / A / "manifest.json").write_text("{"), f"{A}/manifest.json cannot be read"),
    "no manifest": (lambda w: (w.runs / B / "manifest.json").unlink(), "has no manifest.json: the run has not ended"),
    "no predictions": (lambda w: (w.runs / A / PREDICTIONS).unlink(), "no predictions of each image of version 6"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_is_gone_or_damaged_is_said_and_the_rest_is_compared(workspace, kind):
    damage, said = DAMAGE[kind]
    damage(workspace)
    found = compare_runs(workspace)
    assert any(said in note for note in found.notes), found.notes
    shown = " ".join(" ".join(write_text(found, 60)).split())
    assert " ".join(said.split()) in shown
    assert said in html.unescape(render_page(workspace))


def test_runs_of_0_2_0_are_compared_as_far_as_they_go(tmp_path):
    """They have neither a list of their images nor predictions."""
    workspace = Workspace(tmp_path / "out")
    shutil.copytree(OLD / "runs", workspace.runs)
    for before, now in itertools.pairwise(workspace.list_runs()):
        found = compare_runs(workspace, before, now)
        assert found.before.begun.startswith("2026-11-27T01:")
        assert (found.test, found.data.listed, found.libraries) == (None, False, None)
        assert write_text(found, 80)
        assert "</html>" in render_page(workspace, before, now)


def find_long_words(lines, width):
    """Returns the lines that are wider than the terminal, unless one word alone is."""
    return [line for line in lines if len(line) > width and len(line.split()) > 1]


@pytest.mark.parametrize("width", [60, 120])
def test_the_text_fits_into_a_terminal(workspace, width):
    lines = write_text(compare_runs(workspace), width)
    assert find_long_words(lines, width) == []
    assert not [line for line in lines if "…" in line]


def test_names_command_neither_the_terminal_nor_the_page(workspace):
    """Of a class, an image, a key and a note."""
    images = [
        ListedImage(i.split, i.digest, f"{EVIL}/{i.path}", EVIL)
        for i in read_image_list(str(workspace.runs / B / IMAGES))
    ]
    write_image_list(str(workspace.runs / B / IMAGES), images)
    text = "\n".join(write_text(compare_runs(workspace), 200))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\\x1b[2J\\u202e[bold]" in text
    page = render_page(workspace)
    assert "<script" not in page
    assert "\\x1b[2J\\u202e[bold]" in page


def test_the_page_has_pictures_no_script_and_no_path_of_the_machine(workspace, tmp_path):
    page = render_page(workspace)
    assert len(re.findall(r'<img src="data:image/jpeg;base64,[^"]+" width="64" height="48" alt="[^"]+"', page)) == 14
    assert page.count("<img") == 14
    assert not re.findall(r"https?:|url\((?!#)|<script|@import| on\w+=", page)
    assert str(tmp_path) not in page
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


@pytest.fixture
def type_graft(workspace, monkeypatch, capsys):
    monkeypatch.chdir(workspace.root.parent)
    monkeypatch.setattr("webbrowser.open", lambda uri: False)
    return make_typist(monkeypatch, capsys, main)


def test_the_command_prints_text_json_and_writes_the_page(type_graft, workspace):
    """Beside B's report by default; without a browser its path is there all the same."""
    ended = type_graft("compare", "v6", B, "--open")
    page = workspace.runs / B / f"compare-{A}.html"
    assert ended.code == 0, ended.err
    assert f"Page:     {page.relative_to(workspace.root.parent)}  (no browser is here)" in ended.out
    assert page.is_file()
    ended = type_graft("compare", A, B, "--json", "--page", "mine.html")
    assert json.loads(ended.out)["test"]["images"] == 5
    assert (workspace.root.parent / "mine.html").is_file()
    ended = type_graft("compare", A, B, "--page", "no/such/folder/mine.html")
    assert (ended.code, "cannot be written: No such file or directory" in ended.err) == (2, True)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (A.replace("3f2a", "3f2b"), f"no run '{A[:-1]}b'. The nearest: {A}"),
        ("v1", "no version 1. There are: 6, 7. A version is named by the number that ./graft releases lists,"),
        ("", "no run ''"),
    ],
)
def test_a_run_that_is_not_there_is_refused_with_the_nearest(type_graft, name, said):
    ended = type_graft("compare", name, B)
    assert ended.code == 2
    assert said in ended.err
    assert ended.out == ""


def test_versions_without_an_origin_are_refused(workspace):
    write_record(workspace, 8, None, request_key="")
    with pytest.raises(UsageError, match="Graft did not push it"):
        compare_runs(workspace, "v8", B)
    write_record(workspace, 9, "gone").joinpath("assets.extra/graft.json").write_text("{")
    with pytest.raises(UsageError, match=r"its record cannot be read .*Name the run"):
        compare_runs(workspace, "v9", B)
