"""Numbers of an embedding run, and the cache keys of its features."""

from typing import Literal

from components.records.computation import Computation
from serving.storage.documents import Document


class EmbeddingSummary(Document):
    """Summary of an embedding run: keys of the features, and numbers of images.

    Attributes:
        kind: feature key of the embeddings in the JSON of `FeatureKey.to_json`; None if images are augmented, because
            augmented images have no stored embeddings.
        trunk: feature key of the features kept for fine-tuning; None if no features are kept.
        images: number of images in all splits.
        computed: number of images that went through the base in this run; the others were in the store before.
        note: reason why no features are kept, or "".
        computation: device, precision, XLA and cores; None if no image went through the base, and of an earlier Graft.
    """

    FILE = "embedding.json"

    format: Literal[1] = 1
    kind: str | None
    trunk: str | None
    images: int
    computed: int
    note: str
    computation: Computation | None = None
