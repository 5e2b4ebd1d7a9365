"""The configuration: one typed, frozen object, the source of help, `graft.toml` and docs/configuration.md."""

import datetime
import re
import shlex
import unicodedata
from typing import Annotated, Any, Literal, TypeVar

import pydantic
from pydantic import BeforeValidator, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, StrictBool

from components.network.heads import ARTICLE, AUTO
from schema.features import SPLITS

_T = TypeVar("_T")
# Layers, blocks and stages of ResNet50.
_LAYER = re.compile(
    r"all|conv1(_(pad|conv|bn|relu))?|pool1_(pad|pool)"
    r"|conv[2-5]|(conv2_block[1-3]|conv3_block[1-4]|conv4_block[1-6]|conv5_block[1-3])(_([0-3]_(conv|bn|relu)|add|out))?"
)
_ENDPOINT = re.compile(r"(?:[^\s:/@]+|\[[0-9a-fA-F:.]+\]):(\d{1,5})")
_LARGEST_MEGAPIXELS = 500  # TensorFlow's decoders refuse 2^29 pixels and more

Fraction = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
Coverage = Annotated[float, Field(ge=0.5, lt=1)]
Resize = Literal["stretch", "crop", "pad"]


def is_endpoint(text: str) -> bool:
    """Tells whether a text is host:port."""
    match = _ENDPOINT.fullmatch(text)
    return match is not None and 0 < int(match[1]) < 2**16


def _split_commas(value: Any) -> Any:
    """Splits a list of the command line: a,b,c."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _split_units(value: Any) -> Any:
    """Splits the widths of a head of the command line, and leaves "auto"."""
    return value if value == AUTO else _split_commas(value)


def _split_ratios(value: Any) -> Any:
    """Parses shares of the command line: train=0.8,val=0.1,test=0.1, or 0.8,0.1,0.1 in this order."""
    if not isinstance(value, str):
        return value
    parts = [part.strip() for part in value.split(",")]
    if len(parts) == len(SPLITS) and not any("=" in part for part in parts):
        return dict(zip(SPLITS, parts, strict=True))
    return dict(part.partition("=")[::2] for part in parts)


def _split_words(value: Any) -> Any:
    """Splits arguments of the command line as a shell does."""
    return shlex.split(value) if isinstance(value, str) else value


class _Frozen(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _no_switch(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        switch = cls.model_fields[str(info.field_name)].annotation is bool
        return _check(value, switch or not isinstance(value, bool))  # pydantic takes true for 1


def _key(default: Any, group: str, description: str, expected: str = "", example: Any = None, metavar: str = "") -> Any:
    """Describes a key; `expected` and `metavar` replace the texts that follow from its type."""
    extra = {"group": group, "expected": expected, "example": example, "metavar": metavar}
    return Field(default, description=description, json_schema_extra=extra)


class Augmentation(_Frozen):
    """Random changes of training images by Keras' layers; images to evaluate or to predict stay unchanged."""

    flip: Literal["none", "horizontal", "vertical", "horizontal_and_vertical"] = _key(
        "none", "Augmentation", "mirror at random"
    )
    rotation: Fraction = _key(0.0, "Augmentation", "turn by up to this share of a full turn, either way")
    zoom: BelowOne = _key(0.0, "Augmentation", "zoom in or out by up to this share")
    contrast: BelowOne = _key(0.0, "Augmentation", "change the contrast by up to this share")


class Beam(_Frozen):
    """Configuration of Apache Beam; `pipeline.beam.engines` turns it into Beam's arguments."""

    runner: Literal["direct", "portable", "flink", "dataflow"] = _key(
        "direct",
        "Apache Beam",
        "what runs its pipelines: this process, a job server of Beam's, one of Flink's, or Dataflow; see docs/beam.md",
    )
    job_endpoint: str | None = _key(
        None, "Apache Beam", "job server of portable and flink", "host:port", "localhost:8099", "HOST:PORT"
    )
    environment: Literal["LOOPBACK", "EXTERNAL", "DOCKER", "PROCESS"] | None = _key(
        None,
        "Apache Beam",
        "how portable and flink come by workers: this process, a worker pool, containers or commands; by default "
        "LOOPBACK for portable, EXTERNAL for flink",
        "",
        "EXTERNAL",
    )
    environment_config: str | None = _key(
        None,
        "Apache Beam",
        "the worker pool of EXTERNAL, as the engine sees it, by default localhost:50000; or the command of PROCESS",
        "host:port, or a command",
        "localhost:50000",
        "HOST:PORT|COMMAND",
    )
    parallelism: PositiveInt | None = _key(
        None, "Apache Beam", "workers at once; with dataflow, machines at the most; by default the engine's", "", 8
    )
    max_silent_minutes: PositiveInt | None = _key(
        None,
        "Apache Beam",
        "minutes after which a run gives up a job of portable or flink whose job server tells of no progress; by "
        "default the run waits, and says so",
        "",
        30,
    )
    sdk_container_image: str | None = _key(
        None,
        "Apache Beam",
        "image of the workers, with Graft inside; without one, the project's code is sent to them",
        "the name of an image",
        "registry.example/graft:0.2.0",
        "IMAGE",
    )
    project: str | None = _key(
        None, "Apache Beam", "Google Cloud project of dataflow", "the id of a project", "my-project", "ID"
    )
    region: str | None = _key(
        None, "Apache Beam", "region of dataflow", "the name of a region", "europe-west4", "REGION"
    )
    temp_location: str | None = _key(
        None,
        "Apache Beam",
        "where dataflow keeps what it needs for the time of a run; by default below the pipeline root",
        "gs://bucket/folder",
        "gs://my-bucket/beam",
        "gs://...",
    )
    args: Annotated[tuple[str, ...], BeforeValidator(_split_words)] = _key(
        (),
        "Apache Beam",
        "further arguments of its pipelines, behind those that follow from the keys above",
        'a list such as ["--direct_num_workers=2"]',
        metavar="'--A=X --B=Y'",
    )

    @pydantic.field_validator("job_endpoint")
    @classmethod
    def _host_and_port(cls, endpoint: str | None) -> str | None:
        return _check(endpoint, endpoint is None or is_endpoint(endpoint))

    @pydantic.field_validator("temp_location")
    @classmethod
    def _in_a_bucket(cls, location: str | None) -> str | None:
        return _check(location, location is None or bool(re.fullmatch(r"gs://[a-z0-9][^/]+/.*", location)))

    @pydantic.field_validator("environment_config", "sdk_container_image", "project", "region")
    @classmethod
    def _not_empty(cls, text: str | None) -> str | None:
        return _check(text, text is None or bool(text.strip()))


class Config(_Frozen):
    """Configuration of a run."""

    data: str = _key(..., "Data", "folder of labelled images", "a path", "photos")
    out: str = _key("graft-out", "Data", "the workspace: artifacts, reports, pushed versions", "a path")
    classes: Annotated[tuple[str, ...], BeforeValidator(_split_commas)] | None = _key(
        None,
        "Data",
        "class names, in the order of the model's outputs; by default the live model's, else the folders'",
        "two names or more, each once",
        ("cats", "dogs"),
        "A,B,...",
    )
    split_ratios: Annotated[dict[str, PositiveFloat], BeforeValidator(_split_ratios)] = _key(
        {"train": 0.7, "val": 0.15, "test": 0.15},
        "Data",
        "shares of the images to train, validate and test; they need not add up to 1",
        f"{', '.join(SPLITS)}, each a number above 0, such as train=0.8,val=0.1,test=0.1",
        metavar="TRAIN,VAL,TEST",
    )
    max_bad_fraction: Fraction = _key(0.05, "Data", "share of the files that may be broken before a run stops")
    max_megapixels: Annotated[float, Field(gt=0, le=_LARGEST_MEGAPIXELS)] = _key(
        100.0,
        "Data",
        "an image with more megapixels is refused from its header, in serving too",
        f"a number above 0, at most {_LARGEST_MEGAPIXELS}",
    )
    follow_links: StrictBool = _key(
        False,
        "Data",
        "follow links that lead out of the data folder; a class folder that is a link is always followed",
    )
    window_end: datetime.date | None = _key(
        None, "Data", "newest date folder to read; by default the newest there is", "", datetime.date(2026, 11, 23)
    )
    window_days: PositiveInt | None = _key(None, "Data", "how many days up to it; by default all", "", 30)

    weights: str = _key(
        "imagenet",
        "Network",
        "weights of ResNet50 to start from",
        "imagenet, random, or the path of Keras' notop file",
        metavar="imagenet|random|FILE",
    )
    image_size: Annotated[int, Field(ge=32, le=1024)] = _key(224, "Network", "side in pixels of what the network sees")
    resize: Resize = _key(
        "stretch",
        "Network",
        "how an image becomes a square, in serving too: stretch changes its proportions, crop keeps its middle, pad "
        "keeps all of it on black",
    )
    orientation: Literal["exif", "ignore"] = _key(
        "exif", "Network", "whether an image is turned upright by its EXIF orientation, in serving too"
    )
    head_units: Annotated[Literal["auto"] | tuple[PositiveInt, ...], BeforeValidator(_split_units)] = _key(
        ARTICLE,
        "Network",
        "width of each hidden layer of the head; auto tries no hidden layer, one of 1024, and the default, and keeps "
        "the head with the lowest loss on val",
        "whole numbers above 0, or auto",
        metavar="N,N,...|auto",
    )
    dropout: BelowOne = _key(0.0, "Network", "share of units left out, behind each hidden layer of the head")

    head_epochs: PositiveInt = _key(5, "Training", "epochs of phase 1: the head on the frozen base")
    head_learning_rate: PositiveFloat = _key(1e-3, "Training", "learning rate of Adam in phase 1")
    fine_tune_epochs: NonNegativeInt = _key(
        5, "Training", "epochs of phase 2: the upper base with the head; 0 for none"
    )
    fine_tune_learning_rate: PositiveFloat = _key(1e-5, "Training", "learning rate of Adam in phase 2")
    fine_tune_from: str = _key(
        "conv5_block1",
        "Training",
        "first stage, block or layer that phase 2 trains",
        "all, a stage such as conv5, a block such as conv5_block1, or a layer of ResNet50",
        metavar="LAYER|all",
    )
    fine_tune_schedule: Literal["constant", "cosine"] = _key(
        "constant", "Training", "learning rate of phase 2: constant, or falling to 0 on half a cosine"
    )
    fine_tune_warmup: BelowOne = _key(
        0.0, "Training", "share of the steps of phase 2 in which the learning rate rises from 0"
    )
    fine_tune_clip_norm: NonNegativeFloat = _key(
        0.0, "Training", "largest global norm of the gradients in phase 2; 0 for no limit"
    )
    fine_tune_weight_decay: NonNegativeFloat = _key(
        0.0, "Training", "decoupled weight decay in phase 2, as AdamW's; none on biases and normalizations"
    )
    fine_tune_average: BelowOne = _key(
        0.0,
        "Training",
        "momentum of an average of the weights in phase 2, which is validated, kept and exported; 0 for none",
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = _key(
        "auto",
        "Training",
        "what phase 2 computes in, and with bfloat16 the frozen base as well; auto: float32 on a CPU, what the tensor "
        "cores take on a GPU",
    )
    serving_precision: Literal["float32", "bfloat16"] = _key(
        "float32", "Training", "what the base of the exported model computes in"
    )
    trunk_gb: NonNegativeFloat | None = _key(
        None,
        "Training",
        "GB of disk for what phase 2 starts from, so that the frozen part runs once; by default half of what is free",
        "",
        20.0,
    )
    batch_size: PositiveInt = _key(32, "Training", "images a step")
    early_stopping_patience: PositiveInt = _key(
        3, "Training", "epochs without a lower validation loss before a phase ends"
    )
    class_weights: Literal["none", "balanced"] = _key(
        "none", "Training", "whether an image of a rare class counts for more"
    )
    label_smoothing: BelowOne = _key(0.0, "Training", "share of the label spread over all classes")
    seed: NonNegativeInt = _key(0, "Training", "seed of random weights, order and augmentation")

    min_accuracy: Fraction | None = _key(
        None,
        "Evaluation and push",
        "accuracy on test needed to be pushed; by default better than chance: its 95 % interval above the largest "
        "class's share",
        "",
        0.9,
    )
    max_accuracy_drop: Fraction | None = _key(
        None,
        "Evaluation and push",
        "how far below the live model is still pushed; by default, and besides, whatever is not worse beyond chance",
        "",
        0.02,
    )
    min_recall: Fraction | None = _key(
        None,
        "Evaluation and push",
        "floor for the recall of each class; a class below it beyond chance is refused; by default none",
        "",
        0.5,
    )
    coverage: Coverage | Literal["off"] = _key(
        0.95,
        "Evaluation and push",
        "share of the images of known classes that the model accepts; an image that it does not accept is none of "
        "these; off accepts all images",
        "a number from 0.5 to below 1, or off",
        metavar="X|off",
    )
    serving_images: PositiveInt = _key(
        16, "Evaluation and push", "test images that a model server is asked with before a push"
    )
    max_latency_ms: PositiveFloat = _key(
        5000.0, "Evaluation and push", "milliseconds that a model server may take for one image, as the median"
    )
    max_serving_mb: PositiveFloat = _key(4096.0, "Evaluation and push", "MB of memory that it may hold with the model")
    model_name: str = _key(
        "graft",
        "Evaluation and push",
        "folder below serving/, and the name for TensorFlow Serving",
        "letters, digits, - and _, beginning with a letter or digit",
        metavar="NAME",
    )
    warmup_images: Annotated[int, Field(ge=0, le=8)] = _key(
        8,
        "Evaluation and push",
        "images of test that travel with the model, so that a server is warm before the first request; 0 for none",
    )
    keep_versions: PositiveInt = _key(
        10,
        "Evaluation and push",
        "pushed versions to keep, and withdrawn ones at the most; older ones are removed after a push",
    )
    canary: StrictBool = _key(
        False,
        "Evaluation and push",
        "push below the live version, to be tried as the canary; ./graft releases promote makes it live",
    )

    min_new_images: NonNegativeInt | None = _key(
        None,
        "Retraining",
        "images that the live model has not seen, needed to train again; by default 1 with window_days, else 0: any "
        "change of the images will do",
        "",
        100,
    )
    warm_start: StrictBool = _key(
        False, "Retraining", "start the head from the live model's, where both are of the same shape"
    )
    max_label_drift: Fraction = _key(
        0.3, "Retraining", "how far the share of a class may be from that of the live model's images"
    )
    max_brightness_drift: Fraction = _key(
        0.3, "Retraining", "how far the brightness may, as the Jensen-Shannon divergence of its histograms"
    )
    max_embedding_drift: PositiveFloat = _key(
        0.5, "Retraining", "how far the mean embedding may, in standard deviations of the embeddings"
    )
    force: StrictBool = _key(
        False, "Retraining", "train whatever the live model has seen, and on older or drifted images, too"
    )

    augmentation: Augmentation = Augmentation()
    beam: Beam = Beam()

    @pydantic.field_validator("data", "out", "weights")
    @classmethod
    def _not_empty(cls, text: str) -> str:
        return _check(text, bool(text.strip()))

    @pydantic.field_validator("model_name")
    @classmethod
    def _folder_name(cls, name: str) -> str:
        return _check(name, bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name)))

    @pydantic.field_validator("fine_tune_from")
    @classmethod
    def _layer_name(cls, name: str) -> str:
        return _check(name, bool(_LAYER.fullmatch(name)))

    @pydantic.field_validator("classes")
    @classmethod
    def _distinct(cls, classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if classes is None:
            return None
        composed = tuple(
            unicodedata.normalize("NFC", name) for name in classes
        )  # ExampleGen normalizes folder names in the same way
        return _check(composed, len(set(composed)) == len(composed) > 1 and all(composed))

    @pydantic.field_validator("split_ratios")
    @classmethod
    def _three_splits(cls, ratios: dict[str, float]) -> dict[str, float]:
        _check(ratios, set(ratios) == set(SPLITS))
        return {split: ratios[split] for split in SPLITS}

    @property
    def window_end_text(self) -> str:
        """`window_end` as the name of a date folder, or ""."""
        return self.window_end.isoformat() if self.window_end else ""


def _check(value: _T, fine: bool) -> _T:
    if not fine:
        raise ValueError("not as expected")  # `load_config` replaces this text
    return value
