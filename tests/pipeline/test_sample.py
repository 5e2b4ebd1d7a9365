"""Sample data."""

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from pipeline.sample import write_digits
from schema.errors import UsageError


def test_digits_are_those_of_scikit_learn(digits):
    """1797 images in ten folders, pixel for pixel."""
    files = sorted(digits.glob("*/*.png"), key=lambda path: path.name)
    assert len(files) == 1797
    source = load_digits()
    for index in (0, 700, 1796):
        assert files[index].parent.name == str(source.target[index])
        pixels = np.asarray(Image.open(files[index]))
        assert np.array_equal(np.round(pixels / 255 * 16), source.images[index])


def test_folder_that_holds_something_is_left_alone(tmp_path):
    """Nobody's photographs are mixed with digits."""
    (tmp_path / "mine.jpg").write_bytes(b"")
    with pytest.raises(UsageError, match="is there already"):
        write_digits(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.jpg"]
