"""Settings of a training, which the pipeline sends to the Trainer as JSON."""

from typing import Literal

from components.devices import AUTO, BFLOAT16, FLOAT32
from components.embedder.backbone import BaseSpec
from components.trainer.optimizer import CONSTANT, AdamOptions
from components.transform.pixels import Augmentation
from serving.export.warmup_requests import WARMUP_BATCH
from serving.storage.documents import Fields


class Settings(Fields):
    """Settings of both phases; the pipeline hands them to `run_fn` as `custom_config`.

    Attributes:
        classes: class names, in the order of the outputs.
        image_size: height and width in pixels.
        resize, orientation: how the transform graph makes a square of an image; the exported model tells its clients.
        weights: path of a `notop` weights file, or "random".
        head_units: width of each hidden layer of the head; AUTO to try several heads, see `training.try_heads`.
        dropout: share of units dropped in training after each hidden layer of the head, 0 to 1.
        head_epochs, head_learning_rate: epochs and learning rate of phase 1.
        fine_tune_epochs, fine_tune_learning_rate: epochs and learning rate of phase 2; 0 epochs skip phase 2.
        fine_tune_from: first block that phase 2 trains, or "all".
        fine_tune_schedule, fine_tune_warmup, fine_tune_clip_norm, fine_tune_weight_decay, fine_tune_average: options of
            Adam in phase 2, see `optimizer.AdamOptions`.
        precision: precision of phase 2, see `devices.choose_precision`; with "bfloat16" the frozen base has it, too.
        serving_precision: precision of the base in the exported model, "float32" or "bfloat16".
        batch_size: number of images a step.
        early_stopping_patience: epochs without a lower loss on `val` before a phase ends.
        label_smoothing: share of the target that is spread over all classes, 0 to 1.
        class_weights: "balanced" gives rare classes more weight in training, see `phase.balance`; or "none".
        augmentation: random changes of training images, see `pixels.build_augmentation`.
        seed: seed of weights, order and augmentation.
        coverage: share of the images of known classes that the model accepts, see `calibration.find_threshold`; None to
            accept all images.
        store: folder of the embedding store.
        model_name: name of the model in a model server.
        warmup_images: number of test images in the warm-up requests, 0 to 8; 0 writes no requests.
        cache_key: further values that the results depend on; only TFX's cache key uses them.
        warm_start: whether to start from the live model's head.
        embeddings: folder of the Embedder's artifact; set by the Trainer's executor.
        test_files: patterns of the files of the test split, for warm-up requests only; set by the Trainer's executor.
        live: SavedModel whose head is the starting point, see `training.warm_start_head`, or ""; set by the Trainer's
            executor.
    """

    classes: list[str]
    image_size: int
    resize: str = "stretch"
    orientation: str = "exif"
    weights: str
    head_units: list[int] | Literal["auto"]
    dropout: float
    head_epochs: int
    head_learning_rate: float
    fine_tune_epochs: int
    fine_tune_learning_rate: float
    fine_tune_from: str
    fine_tune_schedule: str = CONSTANT
    fine_tune_warmup: float = 0.0
    fine_tune_clip_norm: float = 0.0
    fine_tune_weight_decay: float = 0.0
    fine_tune_average: float = 0.0
    precision: str
    serving_precision: Literal["float32", "bfloat16"] = "float32"
    batch_size: int
    early_stopping_patience: int
    label_smoothing: float
    class_weights: str
    augmentation: Augmentation
    seed: int
    coverage: float | None = None
    store: str
    model_name: str
    warmup_images: int = WARMUP_BATCH
    cache_key: dict[str, str]
    warm_start: bool = False
    embeddings: str = ""
    test_files: list[str] = []
    live: str = ""

    @property
    def base(self) -> BaseSpec:
        """Weights, seed, image size, first trained block and precision of the frozen base.

        The Embedder chooses what "auto" is, and the Trainer follows it: the two may run on other devices.
        """
        fine_tune_from = self.fine_tune_from if self.fine_tune_epochs else ""
        precision = self.precision if self.precision in (AUTO, BFLOAT16) else FLOAT32
        return BaseSpec(self.weights, self.seed, self.image_size, fine_tune_from, precision)

    @property
    def head_optimizer(self) -> AdamOptions:
        """Options of Adam in phase 1."""
        return AdamOptions(self.head_learning_rate)

    @property
    def fine_tune_optimizer(self) -> AdamOptions:
        """Options of Adam in phase 2."""
        return AdamOptions(
            learning_rate=self.fine_tune_learning_rate,
            schedule=self.fine_tune_schedule,
            warmup=self.fine_tune_warmup,
            clip_norm=self.fine_tune_clip_norm,
            weight_decay=self.fine_tune_weight_decay,
            average=self.fine_tune_average,
        )
