"""Small files that would take minutes to decode are rejected, or read in a bounded number of steps."""

import io
import re
import zlib

import numpy as np
import pytest
import tensorflow as tf
from image_files import FILES, add_scans, encode, insert_chunks, insert_comment, insert_texts, turn
from PIL import Image
from PIL.PngImagePlugin import PngInfo

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
    traced = tf.function(lambda image: reject_oversized(image, 100.0), input_signature=STRING)
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


def with_exif(kind, place, value):
    """Makes a file with an orientation in one of the places that Pillow reads."""
    exif, xmp, file = Image.Exif(), f'<x:xmpmeta><rdf tiff:Orientation="{value}"/></x:xmpmeta>', io.BytesIO()
    exif[274], exif[271] = value, "maker" * 99
    profile = f"\nexif\n {len(exif.tobytes())}\n{exif.tobytes().hex()}\n"
    texts = PngInfo()
    match place:
        case "XMP" if kind == "PNG":
            texts.add_itxt("XML:com.adobe.xmp", xmp, zip=value % 2 == 1)
        case "profile":
            texts.add_text("Raw profile type exif", profile, zip=value % 2 == 1)
    options = {"EXIF": {"exif": exif}, "XMP": {"xmp": xmp.encode()}, "both": {"exif": exif, "xmp": xmp.encode()}}
    options = options.get(place, {}) | ({"pnginfo": texts} if kind == "PNG" else {"icc_profile": bytes(300)})
    Image.new("RGB", (9, 9)).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("place", ["EXIF", "XMP", "both", "profile", "none"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_an_orientation_is_the_one_that_pillow_reads(kind, place):
    """Pillow reads the whole file; an orientation may stand in several places."""
    for value in range(10):
        content = with_exif(kind, place, value)
        expected = Image.open(io.BytesIO(content)).getexif().get(274, 1) != 1
        assert orientation.is_oriented(content) == expected


@pytest.mark.parametrize(
    "hostile",
    [b"\xff" * MEGABYTE, b"\xff\xe5\0\2" * MEGABYTE, b"\xff\xe1\0\x08Exif\0\0" * 99_000, b"\xff\xd3" * MEGABYTE],
    ids=["fill bytes", "empty segments", "EXIF", "markers"],
)
def test_pillow_never_reads_a_long_header(monkeypatch, hostile):
    """Pillow gets a file of one pixel; the first orientation counts."""
    sizes, read = [], Image.open
    monkeypatch.setattr(orientation.Image, "open", lambda file: sizes.append(len(file.getvalue())) or read(file))
    jpeg = encode("jpeg", exif=turn())
    scan = jpeg.index(b"\xff\xda")
    assert orientation.is_oriented(jpeg[:scan] + hostile + jpeg[scan:])
    assert not orientation.is_oriented(jpeg[:2] + hostile + encode("jpeg")[2:])
    assert all(size < 100_000 for size in sizes)


@pytest.mark.parametrize("chunk", [(b"eXIf", bytes(5 * MEGABYTE)), (b"abCd", b"")])
def test_pillow_never_reads_a_long_png(chunk):
    """A chunk larger than a JPEG's segment is skipped, and so are 99,000 small chunks."""
    png = insert_chunks(encode("png", exif=turn()), *[chunk] * (1 if chunk[1] else 99_000))
    assert orientation.is_oriented(png)
