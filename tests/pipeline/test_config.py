"""Configuration: defaults, file, options."""

import pytest

from pipeline.config import load_config
from schema.errors import UsageError


def test_options_override_the_file_and_the_file_overrides_the_defaults(tmp_path):
    """In this order, key by key."""
    file = tmp_path / "graft.toml"
    file.write_text('head_epochs = 3\nseed = 4\nweights = "random"\n')
    config = load_config(str(file), {"data": "photos", "seed": 7, "weights": None})
    assert (config.head_epochs, config.seed, config.weights, config.batch_size) == (3, 7, "random", 32)


def test_unknown_key_is_named_with_its_file(tmp_path):
    """A typing error must not be passed over."""
    file = tmp_path / "graft.toml"
    file.write_text("head_epoch = 3\n")
    with pytest.raises(UsageError, match=r"graft\.toml: unknown key 'head_epoch'.*head_epochs"):
        load_config(str(file), {"data": "photos"})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image_size", 31),
        ("head_epochs", 0),
        ("fine_tune_epochs", -1),
        ("min_accuracy", 1.5),
        ("window_end", "23.11.2026"),
        ("model_name", "../x"),
        ("classes", ("cats",)),
        ("classes", ("cats", "cats")),
        ("split_ratios", {"train": 0.7, "val": 0.3}),
        ("head_units", (0,)),
    ],
)
def test_value_out_of_range_names_key_and_value(key, value):
    """What is wrong, and what came."""
    with pytest.raises(UsageError, match=f"command line: {key}.*got"):
        load_config(None, {"data": "photos", key: value})


def test_data_must_be_named():
    """Nothing can be trained on no data."""
    with pytest.raises(UsageError, match="data: missing"):
        load_config(None, {})


def test_broken_toml_names_the_file(tmp_path):
    """With the line, as the parser knows it."""
    file = tmp_path / "graft.toml"
    file.write_text("head_epochs = \n")
    with pytest.raises(UsageError, match=r"graft\.toml: not valid TOML.*line 1"):
        load_config(str(file), {"data": "photos"})


def test_missing_file_is_named(tmp_path):
    """Not a traceback."""
    with pytest.raises(UsageError, match=r"nowhere\.toml: cannot be read"):
        load_config(str(tmp_path / "nowhere.toml"), {})


def test_configuration_cannot_be_changed():
    """One object, the same for every component."""
    config = load_config(None, {"data": "photos"})
    with pytest.raises(Exception, match="frozen"):
        config.seed = 1
