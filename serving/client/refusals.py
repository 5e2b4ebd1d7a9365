"""Words for the images that a model refuses, and for heat maps that say little. Imports no TensorFlow."""

import re

ONE_CELL = (
    "the network sees so few pixels that a heat map has one cell, which cannot tell parts of an image apart; a cell is "
    "32 pixels wide, so image_size has to be 64 or more, and 224 gives 7 x 7 cells"
)

_FEW_CELLS = 3  # a side, as with an image_size of 96; 128 gives 4 x 4

NO_IMAGE = "not an image that TensorFlow reads; expected JPEG, PNG, GIF or BMP"
# Messages of Graft's graph and of TensorFlow's decoder about bytes that are no image.
_NO_IMAGE = ("none of JPEG", "Unknown image file format", "Input is empty")


def describe_coarse(rows: int, columns: int) -> str:
    """Returns a sentence about heat maps of few cells; "" for heat maps of more."""
    if max(rows, columns) > _FEW_CELLS:
        return ""
    return (
        f"A heat map has {rows} x {columns} cells here, so it is coarse: a cell is 32 pixels wide, and "
        "image_size = 224 gives 7 x 7 cells."
    )


def explain_refusal(text: str) -> str:
    """Returns the reason why a model refuses an image, from the message of TensorFlow or of a server."""
    if too_large := re.search(r"more than [\d.]+ megapixels", text):
        return f"{too_large[0]}, which the model refuses"
    if any(words in text for words in _NO_IMAGE):
        return NO_IMAGE
    return "cannot be decoded: cut off or damaged"
