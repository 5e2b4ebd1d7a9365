"""Settings of a training, as JSON between the pipeline and the Trainer."""

from components.embedder.backbone import BaseSpec
from components.transform.pixels import Augmentation
from serving.export.warmup_requests import WARMUP_BATCH
from serving.storage.documents import Fields


class Settings(Fields):
    """Settings of both phases; the pipeline hands them to `run_fn` as `custom_config`.

    Attributes:
        classes: class names, in the order of the outputs.
        image_size: in pixels.
        weights: path of a `notop` weights file, or "random".
        head_units: width of each hidden layer of the head.
        dropout: share of units dropped after each hidden layer of the head while it trains.
        head_epochs, head_learning_rate: phase 1.
        fine_tune_epochs, fine_tune_learning_rate: phase 2; 0 epochs leave it out.
        fine_tune_from: the first block that phase 2 trains, or "all".
        precision: of phase 2, see `devices.choose_devices`.
        batch_size: images a step.
        early_stopping_patience: epochs without a lower loss on `val` before a phase ends.
        label_smoothing: share of the target that is spread over all classes.
        class_weights: "balanced" weighs rare classes up in training, see `training.balance`; or "none".
        augmentation: random changes of training images, see `pixels.build_augmentation`.
        seed: of weights, order and augmentation.
        store: the folder of the embedding store.
        model_name: what servers will call the model.
        warmup_images: number of test images that travel with the model, to warm a server up; 0 for none.
        cache_key: what the results depend on besides; TFX hashes it, nothing reads it.
        warm_start: whether to start from the live model's head.
        embeddings: the folder of the Embedder's artifact; the Trainer's executor fills it in.
        test_files: patterns of the files of the test split, likewise; no image of them is trained on.
        live: the SavedModel whose head this one starts from, see `training.warm_start_head`, likewise; "" for none.
    """

    classes: list[str]
    image_size: int
    weights: str
    head_units: list[int]
    dropout: float
    head_epochs: int
    head_learning_rate: float
    fine_tune_epochs: int
    fine_tune_learning_rate: float
    fine_tune_from: str
    precision: str
    batch_size: int
    early_stopping_patience: int
    label_smoothing: float
    class_weights: str
    augmentation: Augmentation
    seed: int
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
        """How to build the base."""
        return BaseSpec(self.weights, self.seed, self.image_size, self.fine_tune_from if self.fine_tune_epochs else "")
