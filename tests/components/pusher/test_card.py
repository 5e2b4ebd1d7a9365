"""The model card of a pushed version, read back with a Markdown parser."""

import numpy as np
import pytest
from data_reports import NOTHING
from made_up_evaluation import EVALUATION
from markdown_it import MarkdownIt

from components.pusher.card import BLANK, render_card
from components.pusher.card_facts import gather_facts
from components.pusher.markdown import escape, write_code
from components.records.image_list import IMAGES, ListedImage, write_image_list
from components.records.predictions import PREDICTIONS, Predictions, no_baseline
from serving.image import IMAGE
from serving.releases.record import RunConfig, VersionRecord

HEADINGS = [
    "Model details",
    "Intended use",
    "Factors",
    "Metrics",
    "Training data",
    "Evaluation data",
    "Quantitative analyses",
    "Ethical considerations",
    "Limitations",
    "How to use with TensorFlow Serving",
    "Environment",
    BLANK,
]
HOSTILE = [
    "<script>alert(1)</script>",
    "a|b",
    "**x** __y__ ~~z~~ `c`",
    "[a](http://evil.example) ![b](x) <http://evil.example> www.evil.example a@evil.example",
    "# h",
    "1. x",
    "- x",
    "---",
    "a\n\n# h\x1b[2J",
    "&lt; \\* $x$",
    "`` ` ``",
    " a ",
]
MARKDOWN = MarkdownIt("commonmark").enable("table").enable("strikethrough")


def gather(folder, evaluation=EVALUATION):
    NOTHING.write(str(folder))
    (folder / "saved_model.pb").write_bytes(b"no graph")
    return gather_facts(*[str(folder)] * 4, evaluation)


def render(facts, classes=("cats [indoor]", "dogs", "owls"), **config):
    settings = {"data": "photos", "image_size": 64, "max_megapixels": 50.0, "weights": "imagenet"} | config
    counts = {split: dict.fromkeys(classes, 20) for split in ("train", "val", "test")}
    record = VersionRecord(classes=list(classes), config=RunConfig(**settings), counts=counts, pushed_version=7)
    return render_card(facts, record)


def read_texts(card, *kinds):
    """Returns the plain text of each cell, heading or other block of a kind."""
    tokens = MARKDOWN.parse(card)
    blocks = (tokens[i + 1] for i, token in enumerate(tokens) if token.type in {f"{kind}_open" for kind in kinds})
    return ["".join(part.content for part in block.children) for block in blocks]


def write_predictions(folder, classes=("cats [indoor]", "dogs", "owls")):
    """Writes predictions of 40 test images, all right but the dark ones, and their sizes."""
    label = [classes[i % 2] for i in range(40)]
    candidate = np.eye(3, dtype=np.float32)[[i % 2 if i >= 10 else 2 for i in range(40)]]
    names = [f"{i}" for i in range(40)]
    Predictions(list(classes), None, None, ["test"] * 40, names, names, label, candidate, no_baseline(40)).write(
        str(folder / PREDICTIONS)
    )
    listed = (ListedImage("test", name, name, label[i], 30, 40, 2.0 * i) for i, name in enumerate(names))
    write_image_list(str(folder / IMAGES), listed)


def test_the_card_has_the_standard_headings_and_the_figures_of_the_run(tmp_path):
    write_predictions(tmp_path)
    card = render(gather(tmp_path))
    assert [text for text in read_texts(card, "heading") if text in HEADINGS] == HEADINGS
    assert f"-e MODEL_NAME=graft {IMAGE}\n" in card
    cells = read_texts(card, "td")
    overall = cells.index("this version")
    assert cells[overall + 1 : overall + 4] == ["0.900", "0.770 to 0.960", "40"]
    row = len(cells) - 1 - cells[::-1].index("dogs")
    assert cells[row + 1 : row + 7] == ["20", "0.900", "0.699 to 0.972", "0.900", "0.699 to 0.972", "0.970"]


def test_slices_have_intervals_and_a_large_difference_is_a_limitation(tmp_path):
    write_predictions(tmp_path)
    card = render(gather(tmp_path))
    cells = read_texts(card, "td")
    dark = cells.index("up to 26")
    assert cells[dark + 1 : dark + 4] == ["14", "0.286", "0.117 to 0.546"]
    assert "By brightness, the accuracy differs by more than chance: 0.286 for “up to 26”, 1.000 for “above" in card
    assert "By class" not in card[card.index("## Limitations") :]
    assert "All test images have the same size: 30 px." in card
    assert "The images are not in date folders." in card


def test_each_blank_is_named_where_it_stands_and_in_the_list_at_the_end(tmp_path):
    card = render(gather(tmp_path))
    body, _, end = card.partition(f"## {BLANK}\n")
    subjects = [line.removeprefix("- ") for line in end.strip().splitlines()]
    assert len(subjects) == len(set(subjects)) == body.count(f"**{BLANK}**: ") > 10
    assert all(f"**{BLANK}**: {subject}." in body for subject in subjects)


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_text_and_no_markup(tmp_path, name):
    """In tables, lists and code. Line breaks and control characters are shown as escapes."""
    row = [[18, 2], [2, 18]]
    classes = {name: EVALUATION.classes["dogs"], "dogs": EVALUATION.classes["dogs"]}
    evaluation = EVALUATION.model_copy(update={"classes": classes, "confusion_matrix": row})
    card = render(gather(tmp_path, evaluation), classes=(name, "dogs"), data=name)
    shown = name.replace("\n", "\\n").replace("\x1b", "\\x1b")
    cells = read_texts(card, "td")
    assert cells.count(shown.strip()) == 2
    assert f"always “{shown}”" in cells
    [classes_line] = [text for text in read_texts(card, "paragraph") if text.startswith("Classes: ")]
    assert classes_line == f"Classes: {shown}, dogs"
    [source] = [text for text in read_texts(card, "paragraph") if text.startswith("Source: ")]
    assert shown.strip().replace("|", "\\|") in source
    html = MARKDOWN.render(card)
    assert "<script" not in html
    assert "<a " not in html
    assert "<img" not in html
    assert [text for text in read_texts(card, "heading") if text in HEADINGS] == HEADINGS
    assert f"-e MODEL_NAME=graft {IMAGE}\n" in card


@pytest.mark.parametrize("name", HOSTILE)
def test_an_escaped_name_alone_on_a_line_is_one_paragraph(name):
    shown = name.replace("\n", "\\n").replace("\x1b", "\\x1b").strip()
    assert read_texts(str(escape(name)).strip(), "paragraph") == [shown]
    tokens = MARKDOWN.parse(f"| a |\n|---|\n| {write_code(name)} |\n")
    [cell] = [tokens[i + 1] for i, token in enumerate(tokens) if token.type == "td_open"]
    assert [part.type for part in cell.children] == ["code_inline"]


def test_a_damaged_file_leaves_its_part_out_and_keeps_no_model_from_being_pushed(tmp_path):
    for name in (PREDICTIONS, IMAGES, "image_figures.json", "serving_verdict.json"):
        (tmp_path / name).write_bytes(b"torn")
    card = render(gather(tmp_path))
    assert "The accuracy was measured by class." in card
    assert [text for text in read_texts(card, "heading") if text in HEADINGS] == HEADINGS
    assert f"-e MODEL_NAME=graft {IMAGE}\n" in card
