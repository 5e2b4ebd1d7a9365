"""Settings of a training between the pipeline and the Trainer."""

import json

import pytest
from training_settings import AUGMENTED, SETTINGS, change

from components.trainer.settings import Settings
from schema.errors import GraftError


def test_settings_come_back_from_json_as_they_were():
    """Augmentation and lists, too."""
    settings = change(SETTINGS, augmentation=AUGMENTED, test_files=["a*", "b*"])
    assert Settings.check(json.loads(settings.model_dump_json()), "settings") == settings


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"epochs": 3}, "unknown field epochs"),
        ({"seed": "0"}, 'field seed: input should be a valid integer, got "0"'),
        ({"augmentation": {"flipp": "none"}}, "unknown field augmentation.flipp"),
        ({"augmentation": {"zoom": "0.1"}}, 'field augmentation.zoom: input should be a valid number, got "0.1"'),
    ],
)
def test_a_field_that_is_unknown_or_of_another_type_is_named(changes, told):
    """The error names the field and the source, for fields of the augmentation, too."""
    with pytest.raises(GraftError) as caught:
        Settings.check(SETTINGS.model_dump() | changes, "settings")
    assert str(caught.value) == f"settings: {told}"


def test_a_missing_field_is_named():
    """Only the fields that the Trainer's executor sets may be missing."""
    values = SETTINGS.model_dump()
    del values["batch_size"]
    with pytest.raises(GraftError, match=r"^settings: field batch_size is missing$"):
        Settings.check(values, "settings")
