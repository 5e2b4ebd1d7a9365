"""Sample data, written as class folders."""

import pathlib
import shutil
import uuid

import numpy as np
from PIL import Image

from schema.errors import UsageError

_LEVELS = 16  # the images inside scikit-learn have 17 grey levels


def write_digits(folder: str) -> int:
    """Writes the images inside scikit-learn (UCI's optical recognition of handwritten digits) as PNG files.

    Args:
        folder: is made; must not hold anything yet.
    Returns:
        How many: 1797, 8x8 pixels, grayscale, in the folders 0 to 9.
    Raises:
        UsageError: if the folder is not empty or cannot be written.
    """
    from sklearn.datasets import load_digits

    target = pathlib.Path(folder)
    staging = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise UsageError(f"{folder}: is there already. Name a new folder.")
        digits = load_digits()
        for index, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
            (staging / str(label)).mkdir(parents=True, exist_ok=True)
            grey = np.round(pixels * 255 / _LEVELS).astype(np.uint8)
            Image.fromarray(grey).save(staging / str(label) / f"{index:04d}.png")
        staging.rename(target)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror}. Name another folder.") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return len(digits.target)
