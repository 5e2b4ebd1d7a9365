"""The configuration: one typed, frozen object. A TOML file overrides the defaults, options override the file."""

import datetime
import pathlib
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import pydantic
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from schema.errors import UsageError
from schema.features import SPLITS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Fraction = Annotated[float, Field(ge=0, le=1)]


class Config(pydantic.BaseModel):
    """Everything that a run can be told.

    Attributes:
        data: folder of labelled images.
        out: the workspace: artifacts, metadata, pushed versions, reports.
        model_name: folder below `serving/`, and the name for TensorFlow Serving.
        classes: class names in the order of the outputs; by default those of the live model, else the folders.
        weights: "imagenet", the path of Keras' notop file, or "random".
        image_size: side in pixels of what the network sees.
        split_ratios: share of train, val and test.
        head_units: width of each hidden layer of the head.
        head_epochs: phase 1, frozen base.
        head_learning_rate: of Adam in phase 1.
        fine_tune_epochs: phase 2; 0 leaves it out.
        fine_tune_learning_rate: of Adam in phase 2.
        fine_tune_from: first stage, block or layer of ResNet50 that phase 2 trains (conv5, conv5_block1), or "all".
        batch_size: images a step.
        early_stopping_patience: epochs without a lower validation loss before a phase ends.
        min_accuracy: on `test`, to be pushed; by default the majority class's share plus 0.1.
        max_accuracy_drop: how far below the live version is still pushed.
        max_bad_fraction: how many of the files may be broken.
        window_end: newest date folder to read; by default the newest there is.
        window_days: how many days up to it; by default all.
        seed: of weights and order.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=False)

    data: str
    out: str = "graft-out"
    model_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")] = "graft"
    classes: Annotated[tuple[str, ...], Field(min_length=2)] | None = None
    weights: str = "imagenet"
    image_size: Annotated[int, Field(ge=32, le=1024)] = 224
    split_ratios: dict[str, PositiveFloat] = {"train": 0.7, "val": 0.15, "test": 0.15}
    head_units: tuple[PositiveInt, ...] = (1024, 1024, 1024, 512)
    head_epochs: PositiveInt = 5
    head_learning_rate: PositiveFloat = 1e-3
    fine_tune_epochs: NonNegativeInt = 5
    fine_tune_learning_rate: PositiveFloat = 1e-5
    fine_tune_from: Annotated[str, Field(pattern=r"^(all|conv[1-5](_\w+)?)$")] = "conv5_block1"
    batch_size: PositiveInt = 32
    early_stopping_patience: PositiveInt = 3
    min_accuracy: Fraction | None = None
    max_accuracy_drop: Fraction = 0.0
    max_bad_fraction: Fraction = 0.05
    window_end: datetime.date | None = None
    window_days: PositiveInt | None = None
    seed: NonNegativeInt = 0

    @pydantic.field_validator("classes")
    @classmethod
    def _distinct(cls, classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if classes and len(set(classes)) < len(classes):
            raise ValueError("a class is named twice")
        return classes

    @pydantic.field_validator("split_ratios")
    @classmethod
    def _three_splits(cls, ratios: dict[str, float]) -> dict[str, float]:
        if set(ratios) != set(SPLITS):
            raise ValueError(f"expected a share for each of {', '.join(SPLITS)}")
        return {split: ratios[split] for split in SPLITS}

    @property
    def window_end_text(self) -> str:
        """The date as a folder is named, or ""."""
        return self.window_end.isoformat() if self.window_end else ""


def load_config(file: str | None, options: Mapping[str, Any]) -> Config:
    """Merges defaults, a file and options, in this order.

    Args:
        file: path of a TOML file, or None.
        options: by name; None means not given.
    Returns:
        A checked configuration.
    Raises:
        UsageError: naming each key that is unknown or wrong, what was expected and what came.
    """
    values = _read_toml(file) if file else {}
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return Config(**(values | given))
    except pydantic.ValidationError as error:
        problems = [_describe(e, "command line" if e["loc"][0] in given else file) for e in error.errors()]
        raise UsageError("\n".join(problems)) from None


def _read_toml(file: str) -> dict[str, Any]:
    try:
        return tomllib.loads(pathlib.Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: not valid TOML: {error}.") from None


def _describe(error: Any, source: str | None) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"{key}: missing. Give --{key} or set it in the configuration file."
    if error["type"] == "extra_forbidden":
        return f"{source}: unknown key {key!r}. Known: {', '.join(Config.model_fields)}."
    if key == "fine_tune_from":
        expected = "expected all, a stage such as conv5, a block such as conv5_block1, or a layer of ResNet50"
    else:
        expected = error["msg"].removeprefix("Value error, ")
    return f"{source}: {key}: {expected}; got {error['input']!r}."
