"""Numbers of an embedding run, and the cache keys of its features."""

from typing import Literal

from serving.storage.documents import Document


class EmbeddingSummary(Document):
    """What the Embedder computed, and what it took from the store.

    Attributes:
        kind: feature key of the embeddings, as `FeatureKey.to_json` writes it; None if images are augmented,
            for then there are no embeddings.
        trunk: feature key of the features kept for fine-tuning; None if none are kept.
        images: number of images in all splits.
        computed: number of images that went through the base; the others came from the store.
        note: why features are not kept, or "".
    """

    FILE = "embedding.json"

    format: Literal[1] = 1
    kind: str | None
    trunk: str | None
    images: int
    computed: int
    note: str
