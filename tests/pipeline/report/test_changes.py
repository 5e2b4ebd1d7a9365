"""Comparison of a run with the version that was live at its start."""

from pipeline.local_paths import shorten_paths
from pipeline.report.changes import Change, compare_settings
from serving.releases.record import RunConfig


def make_config(**changes):
    return RunConfig.model_validate({"data": "/home/ann/photos", "weights": "imagenet", "head_epochs": 5} | changes)


def test_a_folder_with_the_same_name_is_no_change():
    """The record of a version has only the last part of an absolute path."""
    now = make_config()
    assert compare_settings(now, RunConfig.model_validate(shorten_paths(now.model_dump()))) == []
    assert compare_settings(now, now) == []


def test_other_values_are_listed():
    """A folder is named without its path."""
    before = make_config(data="drawings", head_epochs=9)
    assert compare_settings(make_config(), before) == [
        Change("data", '"drawings"', '"photos"'),
        Change("head_epochs", "9", "5"),
    ]
