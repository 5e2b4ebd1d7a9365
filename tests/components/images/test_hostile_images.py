"""Small files that would take minutes to decode are rejected, or read in a bounded number of steps."""

import io
import re
import zlib

import numpy as np
import pytest
import tensorflow as tf
from image_files import FILES, add_scans, encode, insert_chunks, insert_comment, insert_texts, turn
from PIL import Image

from components.example_gen.reading import try_to_decode
from components.images import gif_frame, orientation
from components.images.byte_search import find_pair
from components.images.decoding import reject_oversized
from components.images.formats import JPEG_FRAMES
from components.images.jpeg_header import find_frame
from components.images.jpeg_scans import count_scans

STRING = [tf.TensorSpec([], tf.string)]
SCAN = b"\xff\xda\0\x08\1\1\0\1\x3f\0"
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def count():
    """Returns a traced function that counts the scans behind the frame header; bytes to int."""
    traced = tf.function(lambda jpeg: count_scans(jpeg, find_frame(jpeg)[0]), input_signature=STRING)
    return lambda jpeg: int(traced(tf.constant(jpeg)))


@pytest.fixture(scope="module")
def accept():
    """Returns the traced `reject_oversized` with the default of max_megapixels; bytes to bytes."""
    traced = tf.function(lambda image: reject_oversized(image, 100.0).encoded, input_signature=STRING)
    return lambda content: traced(tf.constant(content)).numpy()


@pytest.fixture(scope="module")
def refuse(accept):
    """Returns a function that gives the reason of a rejection, the same in ingest and in the graph."""

    def call(content):
        with pytest.raises(ValueError, match=r"PNG|JPEG|GIF|header") as refusal:
            try_to_decode(content, 100.0)
        reason = str(refusal.value).removeprefix("cannot be decoded: ")
        with pytest.raises(tf.errors.InvalidArgumentError, match=re.escape(reason)):
            accept(content)
        return reason

    return call


@pytest.mark.parametrize("length", [0, 1, 2, 3, 7, 8, 1000, 1001])
def test_a_pair_of_bytes_is_found_wherever_it_stands(length):
    """At odd and at even offsets, and at the end of the file."""
    content = np.random.default_rng(length).choice(list(b"AB"), length).astype(np.uint8).tobytes()
    expected = [match.start() for match in re.finditer(b"AB", content)]
    assert sorted(find_pair(tf.constant(content), b"AB").numpy().tolist()) == expected


@pytest.mark.parametrize("name", [b"zTXt", b"iTXt"])
@pytest.mark.parametrize("behind_pixels", [False, True])
def test_a_png_of_many_compressed_texts_is_refused(refuse, name, behind_pixels):
    """Before its pixels or behind them; the reason has the number and the limit."""
    text = zlib.compress(bytes(7_900_000))
    png = insert_chunks(encode("png"), *[(name, b"a\0" + (b"\1\0\0\0" if name == b"iTXt" else b"\0") + text)] * 400)
    if behind_pixels:
        chunks = png[33 : len(png) - len(encode("png")) + 33]
        png = encode("png")[:-12] + chunks + encode("png")[-12:]
    assert refuse(png) == "a PNG with 400 compressed text chunks (16 are read at most)"


def test_a_png_with_plain_texts_and_small_compressed_ones_is_read():
    """Any number of texts in a small file; up to 16 in a large one."""
    assert try_to_decode(insert_texts(encode("png"), 16), 1.0)[:2] == (20, 12)
    texts = [(b"tEXt", b"a\0" + b"zTX iTX TXt" * 999)] * 99 + [(b"zTXt", b"a\0\0" + zlib.compress(b"x" * 9))] * 16
    assert try_to_decode(insert_chunks(encode("png"), *texts), 1.0)[:2] == (20, 12)
    tiny = [(b"zTXt", b"a\0\0" + zlib.compress(b"x" * 9))] * 999
    assert try_to_decode(insert_chunks(encode("png"), *tiny), 1.0)[:2] == (20, 12)


@pytest.mark.parametrize("pixels", [2000, 9500])
def test_a_progressive_jpeg_of_many_scans_is_refused(refuse, pixels):
    """At 4 and at 90 megapixels; all scans in the file are counted."""
    jpeg = add_scans(500, pixels, pixels)
    own = jpeg.count(b"\xff\xda")
    most = max(16, int((1e9 + 100 * len(jpeg)) / pixels**2))
    assert refuse(jpeg) == f"a JPEG with {own} scans (of its size, {most} are read at most)"


@pytest.mark.parametrize("scans", [10, 16])
def test_a_jpeg_of_as_many_scans_as_photographs_have_is_read_at_any_size(accept, scans):
    """Also at the largest size that max_megapixels allows."""
    file = io.BytesIO()
    Image.new("L", (3000, 3000)).save(file, "JPEG", progressive=True)
    own = file.getvalue().count(b"\xff\xda")
    jpeg = add_scans(scans - own, 3000, 3000)
    patched = jpeg.replace(b"\x0b\xb8\x0b\xb8", b"\x27\x10\x27\x10", 1)  # 10,000 x 10,000 pixels
    assert accept(patched) == patched
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"17 scans \(of its size, 16 are read"):
        accept(patched[:-2] + SCAN * (17 - scans) + patched[-2:])


def walk(jpeg):
    """Counts scans between the frame header and the end of the image, byte by byte, as libjpeg does."""
    at, framed, scans = 2, False, 0
    while at + 1 < len(jpeg):
        code = jpeg[at + 1]
        if jpeg[at] != 0xFF or code in (0, 0xFF):
            at += 1
        elif code < 0xC0 or 0xD0 <= code <= 0xD8:  # libjpeg stops at the reserved codes
            at += 2
        elif code == 0xD9 and framed:
            break
        else:
            framed = framed or code in JPEG_FRAMES
            scans += framed and code == 0xDA
            at += 2 + (0 if code == 0xD9 else int.from_bytes(jpeg[at + 2 : at + 4].ljust(2, b"\0"), "big"))
    return scans


def test_scans_are_counted_as_libjpeg_meets_them(count):
    """Not inside a segment, not behind the end, also after fill bytes; and in damaged files."""
    plain = add_scans(3, 64, 64)
    own = plain.count(b"\xff\xda")
    segment = b"\xff\xfe\0\x16" + SCAN * 2
    assert count(plain) == count(plain + SCAN * 9) == own
    for between in (segment, segment + b"\xff\xd9"[:1] * 9, b"\xff\xe1\0\4\xff\xd9", b"\xff\xd3" * 9, b"\0\1\2"):
        assert count(plain[:-2] + between + SCAN + plain[-2:]) == own + 1
    random = np.random.default_rng(0)
    frame = plain.index(b"\xff\xc2")
    for _ in range(150):
        content = bytearray(plain)
        for _ in range(random.integers(1, 6)):
            at = int(random.integers(frame + 2, len(content)))
            content[at : at + int(random.integers(0, 3))] = bytes(
                random.choice([0, 2, 0xFF, 0xFF, 0xDA, 0xD9, 0xD3, 0xE1, 0xC4], 4).tolist()
            )
        assert count(bytes(content)) == walk(bytes(content)), bytes(content).hex()


def keep_first_frame(gif):
    """Cuts a GIF as `components.images.gif_frame` does, in plain Python, block by block."""

    def byte(at):
        return gif[at] if at < len(gif) else 0

    def skip(at):
        while byte(at):
            at += 1 + byte(at)
        return at + 1

    def table(flags):
        return 3 * (2 << flags % 8) if flags >= 128 else 0

    frame = 13 + table(byte(10))
    while byte(frame) == ord("!"):
        frame = skip(frame + 2)
    end = skip(frame + 11 + table(byte(frame + 9)))
    if byte(frame) != ord(",") or frame + 10 >= len(gif):
        return gif
    return gif[:6] + gif[frame + 5 : frame + 9] + gif[10:end] + b";"


def test_a_gif_is_cut_where_a_walk_from_block_to_block_ends():
    """Many kinds of GIF, damaged and cut off, with blocks that cross the windows of a step."""
    cut = tf.function(gif_frame.keep_first_frame, input_signature=STRING)
    random = np.random.default_rng(0)
    gifs = [FILES[kind]() for kind in ("GIF", "GIF, animated", "GIF, transparent", "GIF, cut off")]
    gifs += [insert_comment(insert_comment(gifs[1], b"ab", b"c" * 255), *[b"x"] * n) for n in (0, 1, 9, 32_760, 70_000)]
    gifs += [insert_comment(gifs[0], *[bytes(n)] * (140_000 // n)) for n in (2, 3, 254, 255)]
    for gif in gifs:
        assert cut(tf.constant(gif)).numpy() == keep_first_frame(gif)
    for index in range(150):
        gif = bytearray(gifs[index % 6])
        for _ in range(random.integers(1, 4)):
            gif[int(random.integers(10, len(gif)))] = random.choice([0, 1, 2, 33, 44, 255])
        gif = bytes(gif[: int(random.integers(14, len(gif) + 1))])
        assert cut(tf.constant(gif)).numpy() == keep_first_frame(gif), gif.hex()


@pytest.mark.parametrize("extension", [b"!\xfe" + b"\1x" * 200_000 + b"\0", b"!\xfe\0" * 200_000])
def test_a_gif_of_tiny_blocks_is_walked_in_steps_of_its_bytes(monkeypatch, extension):
    """One step for each 16 kB, with 14 doublings, instead of one step for each block."""
    steps, loop = [], tf.while_loop
    monkeypatch.setattr(
        gif_frame.tf,
        "while_loop",
        lambda goes_on, step, variables: loop(goes_on, lambda *at: steps.append(at) or step(*at), variables),
    )
    gif = encode("gif")
    first = 13 + 3 * (2 << gif[10] % 8)
    cut = gif_frame.keep_first_frame(tf.constant(gif[:first] + extension + gif[first:])).numpy()
    assert cut == gif[:first] + extension + gif[first:]
    assert len(steps) <= 15 * (len(cut) / 16_000 + 2)


HOSTILE = {
    "fill bytes": b"\xff" * MEGABYTE,
    "empty segments": b"\xff\xe5\0\2" * MEGABYTE,
    "EXIF": b"\xff\xe1\0\x08Exif\0\0" * 99_000,
    "markers": b"\xff\xd3" * MEGABYTE,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_long_header_changes_no_orientation_that_stands_before_it(kind):
    """In plain Python as in the graph, which walks at most 1,000 steps and rejects the file if they lead nowhere."""
    jpeg, other = encode("jpeg", exif=turn()), encode("jpeg")
    scan = jpeg.index(b"\xff\xda")
    assert orientation.read_orientation(jpeg[:scan] + HOSTILE[kind] + jpeg[scan:]) == 6
    assert try_to_decode(jpeg[:scan] + HOSTILE[kind] + jpeg[scan:], 1.0)[3] == 6
    assert orientation.read_orientation(jpeg[:2] + HOSTILE[kind] + other[2:]) == 1


@pytest.mark.parametrize("chunk", [(b"eXIf", bytes(5 * MEGABYTE)), (b"abCd", b"")])
def test_a_long_png_is_read_up_to_a_bounded_number_of_chunks(chunk):
    """The first EXIF chunk counts, however large; behind 32 small chunks none is looked for."""
    png = insert_chunks(encode("png", exif=turn()), *[chunk] * (1 if chunk[1] else 99_000))
    assert orientation.read_orientation(png) == try_to_decode(png, 1.0)[3] == 1
