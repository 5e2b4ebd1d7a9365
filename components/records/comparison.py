"""Comparison of two runs, as `./graft compare --json` prints it. A is the run that was named first."""

from typing import Literal

from serving.storage.documents import Fields


class ComparedRun(Fields):
    """One of the two runs.

    Attributes:
        name: name in texts, such as "version 7".
        run_id: id of the run; None if it is unknown.
        version: number of the pushed version; None if the run pushed none.
        begun: start of the run, in UTC and ISO 8601; None if it is unknown.
        outcome: outcome of the run in one or two words.
        images: number of images in all splits; None if it is unknown.
        accuracy: accuracy on the test images, 0 to 1; None if no model was evaluated.
        accuracy_interval: 95 % confidence interval of the accuracy; None as for `accuracy`.
        test_images: number of test images; None as for `accuracy`.
    """

    name: str
    run_id: str | None
    version: int | None
    begun: str | None
    outcome: str
    images: int | None
    accuracy: float | None
    accuracy_interval: tuple[float, float] | None
    test_images: int | None


class ChangedImage(Fields):
    """Image that only one run has, or that has another class in each run.

    Attributes:
        path: path relative to the data folder; for an image of both runs, the path in B.
        digest: sha256 of the image's bytes, in hex.
        label: class; for an image of both runs, the class in B.
        label_before: class in A of an image with another class in B; None for an image of one run.
        split: split, as `label`.
    """

    path: str
    digest: str
    label: str
    label_before: str | None
    split: str


class ChangedClass(Fields):
    """Numbers of images of a class.

    Attributes:
        name: name of the class.
        before: number of images in A; None if it is unknown.
        now: number of images in B; None if it is unknown.
        added: number of images that only B has.
        removed: number of images that only A has.
        gained: number of images of both runs that have this class only in B.
        lost: number of images of both runs that have this class only in A.
    """

    name: str
    before: int | None
    now: int | None
    added: int
    removed: int
    gained: int
    lost: int


class DataDifference(Fields):
    """Differences of the images, by their bytes.

    Attributes:
        listed: whether both runs have a list of their images; otherwise only `before` and `now` of `classes` are known.
        added: number of images that only B has.
        removed: number of images that only A has.
        relabelled: number of images with another class in B.
        moved: number of images in another split in B.
        classes: classes with a difference, with the largest difference first.
        some_added: some of the added images.
        some_removed: some of the removed images.
        some_relabelled: some of the relabelled images.
    """

    listed: bool
    added: int
    removed: int
    relabelled: int
    moved: int
    classes: list[ChangedClass]
    some_added: list[ChangedImage]
    some_removed: list[ChangedImage]
    some_relabelled: list[ChangedImage]


class ChangedValue(Fields):
    """Value that differs.

    Attributes:
        name: name of the key or library.
        before: value in A; "" for none.
        now: value in B; "" for none.
    """

    name: str
    before: str
    now: str


class ComparedMetric(Fields):
    """Metric of both runs.

    Attributes:
        name: name of the metric, with its unit.
        before: value in A; None if it is unknown.
        now: value in B; None if it is unknown.
    """

    name: str
    before: float | None
    now: float | None


class PairedTest(Fields):
    """Predictions on the test images that both runs have, and the exact test after McNemar (1947).

    Attributes:
        images: number of these images.
        both_right: number of images that both models predict right.
        both_wrong: number of images that both models predict wrong.
        only_before: number of images that only the model of A predicts right.
        only_now: number of images that only the model of B predicts right.
        flipped: number of images with different predicted classes.
        p_value: two-sided p-value, 0 to 1, of the binomial test on `only_before` and `only_now`.
    """

    images: int
    both_right: int
    both_wrong: int
    only_before: int
    only_now: int
    flipped: int
    p_value: float


class Neighbour(Fields):
    """Image that B trained on and A did not, near to an image whose predicted class differs.

    Attributes:
        path: path relative to the data folder.
        digest: sha256 of the image's bytes, in hex.
        label: class in B.
        label_before: class in A if the image was relabelled; None for an image that A did not train on.
        similarity: cosine of the angle between the two embeddings, -1 to 1.
    """

    path: str
    digest: str
    label: str
    label_before: str | None
    similarity: float


class Flip(Fields):
    """Test image with different predicted classes.

    Attributes:
        path: path relative to the data folder, in B.
        digest: sha256 of the image's bytes, in hex.
        label: true class in B.
        before: class that the model of A predicts.
        before_probability: probability of that class, 0 to 1.
        now: class that the model of B predicts.
        now_probability: probability of that class, 0 to 1.
        nearest: the nearest images that B trained on and A did not, the nearest first; empty if they are unknown.
    """

    path: str
    digest: str
    label: str
    before: str
    before_probability: float
    now: str
    now_probability: float
    nearest: list[Neighbour]


class Comparison(Fields):
    """Differences between two runs.

    Attributes:
        before: the run that was named first, A.
        now: the run that was named second, B.
        data: differences of the images.
        configuration: keys of the configuration that differ.
        code: components whose code or libraries differ; None if they are unknown.
        inputs: other inputs that differ by their digest.
        libraries: versions that differ; None if they are unknown.
        metrics: metrics of both runs.
        test: predictions on the test images of both runs; None if they are unknown.
        flips: images with different predicted classes: first those that only one model predicts right, in the order
            of the change of the true class's probability.
        more_flips: number of further images with different predicted classes, which are not listed.
        new_training_images: number of images that B trained on and A did not; None if it is unknown.
        notes: reasons why a part is missing or incomplete, one sentence each.
    """

    format: Literal[1] = 1
    before: ComparedRun
    now: ComparedRun
    data: DataDifference
    configuration: list[ChangedValue]
    code: list[str] | None
    inputs: list[str]
    libraries: list[ChangedValue] | None
    metrics: list[ComparedMetric]
    test: PairedTest | None
    flips: list[Flip]
    more_flips: int
    new_training_images: int | None
    notes: list[str]
