"""The rendered configuration: the file of `init`, the values in effect, the table of docs/configuration.md."""

import json
import pathlib

import pytest

from pipeline.config.keys import all_keys
from pipeline.config.load import load_config, load_with_sources
from pipeline.config.reference import (
    render_effective,
    render_effective_json,
    render_table,
    render_template,
    update_table,
)

PAGE = pathlib.Path(__file__).parents[3] / "docs" / "configuration.md"


def test_template_is_the_defaults(tmp_path):
    """The unchanged file changes nothing."""
    file = tmp_path / "graft.toml"
    file.write_text(render_template("photos"))
    assert load_config(str(file), {}) == load_config(None, {"data": str(tmp_path / "photos")})


def test_every_line_of_the_template_can_be_uncommented(tmp_path):
    """Then it names every key, with values that are accepted."""
    file = tmp_path / "graft.toml"
    lines = render_template("photos").splitlines()
    file.write_text("\n".join(line[1:] if line.startswith("#") and line[1:2].isalpha() else line for line in lines))
    _, sources = load_with_sources(str(file), {})
    assert set(sources) == set(all_keys())
    assert set(sources.values()) == {str(file)}


def test_what_is_in_effect_reads_back_as_a_file(tmp_path):
    """The output names the source of each value."""
    config, sources = load_with_sources(None, {"data": "/my photos", "classes": "a,b", "augmentation.zoom": 0.1})
    text = render_effective(config, sources)
    file = tmp_path / "graft.toml"
    file.write_text(text)
    assert load_config(str(file), {"out": "graft-out"}) == config
    lines = {line.split(" = ")[0]: line for line in text.splitlines()}
    assert lines["classes"].endswith("# --classes")
    assert lines["seed"].endswith("# default")


def test_what_is_in_effect_is_there_as_json():
    """For other programs."""
    tree = json.loads(render_effective_json(*load_with_sources(None, {"data": "photos", "window_end": "2026-11-23"})))
    assert tree["window_end"] == {"value": "2026-11-23", "source": "--window-end"}
    assert tree["head_units"] == {"value": [1024, 1024, 1024, 512], "source": "default"}


def test_every_key_says_what_it_does_and_takes():
    """Nothing is left to guess."""
    for key in all_keys().values():
        assert key.description, key
        assert key.expected, key
        assert key.metavar, key


def test_page_has_the_table_of_the_source():
    """Made by: .venv/bin/python -m pipeline.config.reference docs/configuration.md."""
    text = PAGE.read_text(encoding="utf-8")
    assert update_table(text) == text
    assert render_table() in text


def test_text_without_marks_is_left_alone():
    """Better no table than one in the wrong place."""
    with pytest.raises(ValueError, match="expected <!--"):
        update_table("# Configuration")
