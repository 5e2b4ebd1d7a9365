"""Prints the network as a table."""

import keras
import numpy as np
from rich.table import Table

from components.network import resnet
from components.network.heads import ARTICLE
from components.network.weights import RANDOM
from pipeline.config.config import Config
from pipeline.console.printing import echo, make_console
from schema.features import EMBEDDING_SIZE

_WIDTH = 120


def print_network(config: Config, num_classes: int) -> None:
    """Prints index, name, class, output shape and parameters of each layer, and the phases that train the layer."""
    base = resnet.build_base(config.image_size, RANDOM)
    resnet.freeze_below(base, config.fine_tune_from)
    embeddings: np.ndarray = np.zeros((1, EMBEDDING_SIZE), np.float32)
    units = ARTICLE if isinstance(config.head_units, str) else config.head_units  # auto: the largest that it tries
    head = resnet.build_head(embeddings, units, num_classes, config.dropout)
    pooling = resnet.build_embedder(base).layers[-1]

    title = f"ResNet50, {config.image_size} px, fine-tuned from {config.fine_tune_from}, {num_classes} classes"
    table = Table(box=None, title=title)
    for title in ("index", "layer", "kind", "output", "parameters", "head phase", "fine-tuning"):
        table.add_column(title, justify="right" if title in ("index", "parameters") else "left")
    for index, layer in enumerate([*base.layers, pooling, *head.layers[1:]]):
        in_base = index < len(base.layers)
        table.add_row(
            str(index),
            layer.name,
            type(layer).__name__,
            _shape(layer),
            f"{layer.count_params():,}",
            _phase(layer, not in_base),
            _phase(layer, layer.trainable if in_base else True),
        )
    console = make_console()
    console.width = max(console.width, _WIDTH)  # a narrow terminal or a file gets long lines instead of cut names
    console.print(table)
    echo(f"{len(base.layers)} layers in the base, {base.count_params():,} parameters; head {head.count_params():,}.")


def _phase(layer: keras.layers.Layer, trained: bool) -> str:
    if not layer.weights or isinstance(layer, keras.layers.Normalization):
        return ""
    return "trained" if trained else "frozen"


def _shape(layer: keras.layers.Layer) -> str:
    shape = layer.output.shape
    return " x ".join(str(size) for size in shape[1:])
