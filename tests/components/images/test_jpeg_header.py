"""The size found in the header of a JPEG is the size that libjpeg decodes, for any other content."""

import io
import time

import numpy as np
import pytest
import tensorflow as tf
from image_files import encode, encode_larger, patch, turn
from PIL import Image

from components.example_gen.reading import try_to_decode
from components.images import jpeg_header
from components.images.decoding import reject_oversized

JFIF_END = 20  # of the first segment that Pillow writes
SIZE = (20, 12)  # of `encode`
STRING = [tf.TensorSpec([], tf.string)]
SOI, EMPTY, FILL, RESTART = b"\xff\xd8", b"\xff\xe5\0\2", b"\xff", b"\xff\xd3"
FAKE = b"\xff\xc0\0\x11\x08\xff\xff\xff\xff\3"  # a frame header of 65535 x 65535


@pytest.fixture(scope="module")
def read_size():
    """Returns the size from the traced `read_header`: bytes to (width, height), or None for a rejected header."""
    return ask(lambda jpeg: jpeg_header.read_header(jpeg)[0])


@pytest.fixture(scope="module")
def libjpeg():
    """Returns a function that reads a JPEG's size with TensorFlow; None for a rejected header."""
    return ask(lambda jpeg: tf.io.extract_jpeg_shape(jpeg, tf.int64)[1::-1])


@pytest.fixture(scope="module")
def decode():
    """Returns a function that decodes a JPEG with TensorFlow and returns its size; None for an error."""
    return ask(lambda jpeg: tf.shape(tf.io.decode_jpeg(jpeg), tf.int64)[1::-1])


def ask(function):
    traced = tf.function(function, input_signature=STRING).get_concrete_function()

    def call(content):
        try:
            return tuple(traced(tf.constant(content)).numpy().tolist())
        except tf.errors.InvalidArgumentError:
            return None

    return call


def insert(jpeg, *parts, at=2):
    """Inserts bytes behind the first two of a JPEG."""
    return jpeg[:at] + b"".join(parts) + jpeg[at:]


def segment(code, content):
    return bytes([0xFF, code]) + (len(content) + 2).to_bytes(2, "big") + content


def embed_thumbnail():
    """A JPEG with a smaller one in its EXIF, as cameras write them; before it is a segment like a frame header."""
    thumbnail = encode_larger("JPEG")
    return insert(encode(), segment(0xE1, b"Exif\0\0" + thumbnail), segment(0xFE, FAKE * 9))


JPEGS = {
    "baseline": lambda: encode(),
    "progressive": lambda: encode(progressive=True),
    "gray": lambda: encode("gray_jpeg"),
    "CMYK": lambda: encode("cmyk_jpeg"),
    "EXIF": lambda: encode(exif=turn()),
    "ICC": lambda: encode(icc_profile=bytes(70_000)),
    "restart intervals": lambda: encode(restart_marker_blocks=1),
    "a thumbnail and what looks like a frame header": embed_thumbnail,
    "fill bytes": lambda: insert(encode(), FILL * 1000),
    "one fill byte before each marker": lambda: encode().replace(b"\xff\xdb", b"\xff\xff\xdb", 1),
    "bytes between segments": lambda: insert(encode(), b"\0\1\xff\0\x7f" * 99, at=JFIF_END),
    "markers without a length": lambda: insert(encode(), RESTART * 99, b"\xff\1"),
    "a segment that is shorter than its length": lambda: insert(encode(), b"\xff\xe5\0\0\xff\xe5\0\1"),
    "many segments": lambda: insert(encode(), EMPTY * 9000, segment(0xE2, bytes(65533)) * 300),
}


@pytest.mark.parametrize("kind", JPEGS)
def test_a_size_is_the_one_that_is_decoded(read_size, libjpeg, decode, kind):
    """TensorFlow and Pillow find the same size."""
    content = JPEGS[kind]()
    assert read_size(content) == libjpeg(content) == decode(content) == SIZE
    if kind not in ("bytes between segments", "markers without a length", "a segment that is shorter than its length"):
        # Of those Pillow takes none.
        assert Image.open(io.BytesIO(content)).size == SIZE


@pytest.mark.parametrize("length", range(250, 270))
def test_a_frame_header_is_found_wherever_a_window_ends(read_size, length):
    """The marker or the size may lie on the border of two windows."""
    assert read_size(insert(encode(), segment(0xFE, bytes(length)))) == SIZE
    assert read_size(insert(encode(), FILL * length)) == SIZE


@pytest.mark.parametrize("code", sorted({*range(256)} - {0x00, 0xFF}))
def test_frame_headers_are_those_of_t_81(read_size, code):
    """C0 to CF, but for tables of Huffman codes (C4), extensions (C8) and arithmetic conditioning (CC)."""
    header = SOI + segment(code, b"\x08\0\x07\0\x09\1\1\x11\0")
    assert read_size(header) == ((9, 7) if 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC) else None)


@pytest.mark.parametrize("position", [5, 7])
def test_a_frame_without_a_height_or_a_width_is_refused(read_size, libjpeg, decode, position):
    """T.81 allows to give the height behind the first scan (DNL); libjpeg does not read it."""
    content = encode()
    content = patch(content, content.index(b"\xff\xc0") + position, ">H", 0)
    assert read_size(content) is libjpeg(content) is decode(content) is None


def test_a_header_that_is_cut_off_anywhere_is_refused_or_not_decoded(read_size, decode):
    """`read_size` rejects a cut before the end of the frame header, the decoder a later one."""
    content = encode(exif=turn())
    frame = content.index(b"\xff\xc0")
    assert [read_size(content[:end]) for end in range(2, frame + 8)] == [None] * (frame + 6)
    assert {read_size(content[:end]) for end in range(frame + 9, len(content))} == {SIZE}
    assert {decode(content[:end]) for end in range(3, len(content) - 2, 7)} == {None}


def mutate(content, random):
    """Changes, inserts and removes bytes of the header."""
    content = bytearray(content)
    for _ in range(random.integers(1, 4)):
        at = int(random.integers(2, min(len(content), 700)))
        match random.integers(5):
            case 0:
                content[at] = random.integers(256)
            case 1:
                content[at:at] = bytes(random.choice([0, 1, 0xFF, 0xC0, 0xD8, 0xDA, 0xE1], 8).tolist())
            case 2:
                del content[at : at + int(random.integers(1, 9))]
            case 3:
                content[at:at] = FILL * int(random.integers(1, 600))
            case 4:
                content[at:at] = EMPTY * int(random.integers(1, 300))
    return bytes(content)


def test_no_damaged_header_is_decoded_to_another_size(read_size, libjpeg, decode):
    """A decoded image has the size found in its header; each size of TensorFlow's own reader is found."""
    random = np.random.default_rng(0)
    originals = [JPEGS[kind]() for kind in list(JPEGS)[:8]]
    decoded = 0
    for index in range(400):
        content = mutate(originals[index % len(originals)], random)
        found, own, image = read_size(content), libjpeg(content), decode(content)
        assert own is None or found == own, (index, content)
        assert image is None or found == image, (index, content)
        decoded += image is not None
    assert 100 < decoded < 300


@pytest.mark.parametrize(
    "hostile",
    [
        FILL * 20_000_000,
        EMPTY * 2_000_000,
        RESTART * 2_000_000,
        (EMPTY + b"\0") * 2_000_000,
        b"\xff\0" * 5_000_000,
        segment(0xE1, bytes(65533)) * 1100,
    ],
    ids=["fill bytes", "empty segments", "restart markers", "bytes between segments", "stuffed bytes", "72 MB"],
)
def test_a_header_without_end_is_refused_after_a_bounded_time(read_size, hostile):
    """The header has 10 MB and more, and behind it a JPEG that libjpeg would find."""
    content = insert(encode(), hostile)
    started = time.process_time()
    assert read_size(content) is None
    assert time.process_time() - started < 10  # it takes 0.1 s


def test_a_header_without_a_size_is_refused_in_words_in_ingest_and_in_serving():
    """Ingest and serving give the same message."""
    content = insert(encode(), FILL * 300_000)
    with pytest.raises(ValueError, match=r"^no size in the first 1000 steps of its header$"):
        try_to_decode(content, 1.0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="no size in the first 1000 steps"):
        tf.function(lambda image: reject_oversized(image, 1.0).encoded)(tf.constant(content))
