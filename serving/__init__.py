"""Serving: signatures, pushed versions, prediction, model server. Imports TensorFlow, never TFX."""

import os

# Each process of Graft imports this package before it starts TensorFlow, which by default takes all memory of a card.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
