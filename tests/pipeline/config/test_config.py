"""Configuration: defaults, file, options."""

import click
import pytest

from pipeline.commands import demo
from pipeline.config.load import load_config, load_with_sources
from pipeline.config.options import make_options
from schema.errors import UsageError


def test_options_override_the_file_and_the_file_overrides_the_defaults(tmp_path):
    """In this order, key by key."""
    file = tmp_path / "graft.toml"
    file.write_text('head_epochs = 3\nseed = 4\nweights = "random"\n')
    config = load_config(str(file), {"data": "photos", "seed": 7, "weights": None})
    assert (config.head_epochs, config.seed, config.weights, config.batch_size) == (3, 7, "random", 32)


def test_unknown_key_is_named_with_its_file(tmp_path):
    """A typing error must not be ignored."""
    file = tmp_path / "graft.toml"
    file.write_text("head_epoch = 3\n")
    with pytest.raises(UsageError, match=r"graft\.toml: unknown key 'head_epoch'\. Did you mean head_epochs\?"):
        load_config(str(file), {"data": "photos"})


def test_unknown_key_in_a_table_is_named_with_it(tmp_path):
    """Also one that belongs above the tables."""
    file = tmp_path / "graft.toml"
    file.write_text("[augmentation]\nflipp = 1\nseed = 3\n")
    with pytest.raises(UsageError) as caught:
        load_config(str(file), {"data": "photos"})
    assert "unknown key 'augmentation.flipp'. Did you mean augmentation.flip?" in str(caught.value)
    assert "unknown key 'augmentation.seed'" in str(caught.value)


def test_table_given_as_a_value_is_explained(tmp_path):
    """The options do not matter."""
    file = tmp_path / "graft.toml"
    file.write_text("augmentation = true\n")
    with pytest.raises(UsageError, match=r"augmentation: expected a table, \[augmentation\]"):
        load_config(str(file), {"data": "photos", "augmentation.zoom": 0.1})


def test_paths_in_a_file_are_relative_to_it(tmp_path):
    """A scheduled run starts in another folder; options are relative to the current folder."""
    file = tmp_path / "graft.toml"
    file.write_text('data = "photos"\nweights = "notop.h5"\n')
    config = load_config(str(file), {"out": "results"})
    assert (config.data, config.weights, config.out) == (f"{tmp_path}/photos", f"{tmp_path}/notop.h5", "results")


def test_names_of_weights_are_no_paths(tmp_path):
    """`imagenet` and `random` mean what they say."""
    file = tmp_path / "graft.toml"
    file.write_text('data = "/photos"\nweights = "random"\n')
    assert load_config(str(file), {}).weights == "random"


def test_lists_and_tables_can_be_written_on_the_command_line():
    """As text, which is all that a shell has."""
    options = {
        "classes": "cats, big dogs",
        "head_units": "64,32",
        "split_ratios": "train=8,val=1,test=1",
        "beam.args": "--direct_num_workers=2 --name='a b'",
    }
    config = load_config(None, {"data": "photos", **options})
    assert config.classes == ("cats", "big dogs")
    assert config.head_units == (64, 32)
    assert config.split_ratios == {"train": 8, "val": 1, "test": 1}
    assert config.beam.args == ("--direct_num_workers=2", "--name=a b")


def test_the_head_is_a_list_of_widths_or_auto(tmp_path):
    """In a file and on the command line; an empty list is a head without a hidden layer."""
    file = tmp_path / "graft.toml"
    for value, expected in (('"auto"', "auto"), ("[64, 32]", (64, 32)), ("[]", ())):
        file.write_text(f'data = "photos"\nhead_units = {value}\n')
        assert load_config(str(file), {}).head_units == expected
    assert load_config(str(file), {"head_units": "auto"}).head_units == "auto"


def test_class_names_are_composed_as_folder_names_are():
    """A name typed on a Mac is the same class."""
    assert load_config(None, {"data": "photos", "classes": ("cafe\u0301", "bar")}).classes == ("caf\u00e9", "bar")


@pytest.mark.parametrize("folder", ["o[1]", "o*", "o?", "o\\p"])
def test_a_workspace_whose_path_is_a_pattern_is_refused(tmp_path, monkeypatch, folder):
    """In the name or above it, which a relative path does not show; data and weights may lie there."""
    (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"^out: .*: expected a path without .*another workspace with --out\.$"):
        load_config(None, {"data": "photos", "out": folder})
    with pytest.raises(UsageError, match="expected a path without"):
        demo.make_config(folder, print)
    assert load_config(None, {"data": f"{folder}/a", "weights": f"{folder}/w.h5", "out": "o"}).data == f"{folder}/a"
    monkeypatch.chdir(folder)
    with pytest.raises(UsageError, match="expected a path without"):
        load_config(None, {"data": "photos", "out": "o"})
    assert list((tmp_path / folder).iterdir()) == []


@pytest.mark.parametrize("out", ["photos", "photos/graft-out", "photos/cats/../out"])
def test_workspace_among_the_images_is_refused(tmp_path, monkeypatch, out):
    """It would be a class of its own."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="lies inside the data folder photos"):
        load_config(None, {"data": "photos", "out": out})


def test_images_in_the_workspace_are_fine(tmp_path, monkeypatch):
    """As the demo has them."""
    monkeypatch.chdir(tmp_path)
    assert load_config(None, {"data": "out/digits", "out": "out"}).out == "out"


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
        ("head_units", "64,wide"),
        ("head_units", "automatic"),
        ("head_units", ("auto",)),
        ("fine_tune_schedule", "linear"),
        ("fine_tune_warmup", 1.0),
        ("fine_tune_clip_norm", -1.0),
        ("fine_tune_weight_decay", -0.1),
        ("fine_tune_average", 1.0),
        ("head_epochs", True),
        ("min_accuracy", float("nan")),
        ("min_accuracy", -1),
        ("max_accuracy_drop", -0.01),
        ("min_recall", 1.01),
        ("coverage", 0.49),
        ("coverage", 1.0),
        ("coverage", float("nan")),
        ("coverage", "on"),
        ("coverage", True),
        ("dropout", 1),
        ("class_weights", "fair"),
        ("fine_tune_from", "conv5_block4"),
        ("fine_tune_from", "conv2_block3_0_xxx"),
        ("max_megapixels", 501),
        ("augmentation.flip", "sideways"),
        ("augmentation.rotation", -0.1),
        ("keep_versions", 0),
        ("canary", 1),
        ("canary", "yes"),
        ("weights", " "),
    ],
)
def test_value_out_of_range_names_key_and_value(key, value):
    """What is wrong, and what came."""
    option = "--" + key.replace("_", "-").replace(".", "-")
    with pytest.raises(UsageError, match=rf"{option}: expected .*; got"):
        load_config(None, {"data": "photos", key: value})


@pytest.mark.parametrize(("value", "expected"), [("0.9", 0.9), (0.5, 0.5), ("off", "off")])
def test_a_coverage_is_a_share_or_off(value, expected):
    """In a file and on the command line."""
    assert load_config(None, {"data": "photos", "coverage": value}).coverage == expected


def test_switch_is_on_or_off_in_a_file_and_the_command_line_overrides_it(tmp_path):
    """By --canary and --no-canary."""
    file = tmp_path / "graft.toml"
    file.write_text('data = "photos"\ncanary = true\n')
    assert load_config(str(file), {"canary": None}).canary is True
    assert load_config(str(file), {"canary": False}).canary is False
    [option] = (option for option in make_options() if option.name == "canary")
    command = click.Command("run", params=[option])
    typed = [[], ["--canary"], ["--no-canary"]]
    assert [command.make_context("run", words).params["canary"] for words in typed] == [None, True, False]


def test_data_must_be_named():
    """Nothing can be trained on no data."""
    with pytest.raises(UsageError, match=r"data: missing\. Name the folder on the command line, or in a graft\.toml"):
        load_config(None, {})


def test_broken_toml_names_the_file(tmp_path):
    """With the line, as the parser knows it."""
    file = tmp_path / "graft.toml"
    file.write_text("head_epochs = \n")
    with pytest.raises(UsageError, match=r"graft\.toml: not valid TOML.*line 1"):
        load_config(str(file), {"data": "photos"})


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("data = photos", 'A text needs quotes: data = "photos".'),
        ("data = ~/my photos  # here", 'A text needs quotes: data = "~/my photos".'),
        ("data = 2026/photos", 'A text needs quotes: data = "2026/photos".'),
        ("weights=random", 'A text needs quotes: weights = "random".'),
        ("classes = [cats, dogs]", 'Texts in a list need quotes: classes = ["cats", "dogs"].'),
        ("canary = yes", "A switch is true or false: canary = true."),
        ("canary = False", "A switch is true or false: canary = false."),
        ("seed = 1,5", "`./graft init` writes a valid one to compare."),
        ('data = "photos', "`./graft init` writes a valid one to compare."),
    ],
)
def test_missing_quotes_are_named(tmp_path, line, advice):
    """The most frequent slip in TOML, with the line as it should be; and the line that is advised is read."""
    file = tmp_path / "graft.toml"
    file.write_text(f"seed = 3\n{line}\n")
    with pytest.raises(UsageError) as caught:
        load_config(str(file), {"data": "photos"})
    assert str(caught.value).endswith(f". {advice}")
    if ": " in advice:
        file.write_text(advice.partition(": ")[2][:-1])
        load_config(str(file), {"data": "photos"})


@pytest.mark.parametrize(
    "text", ["0.8,0.1,0.1", "0.8, 0.1 ,0.1", "train=0.8,val=0.1,test=0.1", "test=.1,train=.8,val=.1"]
)
def test_shares_of_the_splits_may_be_typed_without_names(text):
    """In the order train, val, test."""
    config = load_config(None, {"data": "photos", "split_ratios": text})
    assert config.split_ratios == {"train": 0.8, "val": 0.1, "test": 0.1}


@pytest.mark.parametrize("text", ["0.8,0.2", "0.8", "a,b,c", "0.8,0.1,0.1,0", "train=0.8,0.1,0.1"])
def test_other_shares_are_told_the_form(text):
    """With an example."""
    with pytest.raises(UsageError, match=r"--split-ratios: expected .* such as train=0\.8,val=0\.1,test=0\.1; got"):
        load_config(None, {"data": "photos", "split_ratios": text})


def test_missing_file_is_named(tmp_path):
    """Not a traceback."""
    with pytest.raises(UsageError, match=r"nowhere\.toml: cannot be read"):
        load_config(str(tmp_path / "nowhere.toml"), {})


def test_configuration_cannot_be_changed():
    """One object, the same for every component."""
    config = load_config(None, {"data": "photos"})
    with pytest.raises(Exception, match="frozen"):
        config.seed = 1


def test_sources_tell_default_file_and_option_apart(tmp_path):
    """What `--print-config` shows."""
    file = tmp_path / "graft.toml"
    file.write_text("head_epochs = 3\nseed = 4\n[beam]\nargs = []\n")
    _, sources = load_with_sources(str(file), {"data": "photos", "seed": 7})
    assert sources["head_epochs"] == sources["beam.args"] == str(file)
    assert (sources["seed"], sources["batch_size"]) == ("--seed", "default")
