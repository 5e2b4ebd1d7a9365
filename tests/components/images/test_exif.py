"""The orientation found in a header, by the graph and in plain Python, beside that of Pillow."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from image_files import encode, encode_larger, insert_chunks
from PIL import Image

from components.images import decoding, exif, orientation

STRING = [tf.TensorSpec([], tf.string)]
LITTLE, BIG = "<", ">"
ENTRY = (0x0112, 3, 1, 6)  # turned to the right


def build_exif(*entries, order=LITTLE, start=8, number=None, mark=None):
    """An EXIF block with a directory of entries, each of tag, type, number of values and a 16-bit value."""
    mark = mark or {LITTLE: b"II*\0", BIG: b"MM\0*"}[order]
    packed = b"".join(struct.pack(f"{order}HHIHH", *entry, 0) for entry in entries)
    number = len(entries) if number is None else number
    return mark + struct.pack(f"{order}I", start) + struct.pack(f"{order}H", number) + packed + bytes(4)


def segment(code, content):
    return bytes([0xFF, code]) + (len(content) + 2).to_bytes(2, "big") + content


def insert(*parts, jpeg=None):
    """A JPEG with segments behind its first two bytes."""
    jpeg = jpeg or encode()
    return jpeg[:2] + b"".join(parts) + jpeg[2:]


def in_jpeg(block):
    return insert(segment(0xE1, b"Exif\0\0" + block))


def in_png(block):
    return insert_chunks(encode("png"), (b"eXIf", block))


@pytest.fixture(scope="module")
def read():
    """Returns a function from a file to its orientation: that of the graph and of plain Python, which are equal."""
    traced = tf.function(lambda image: decoding.read_header(image).orientation, input_signature=STRING, autograph=False)
    traced = traced.get_concrete_function()

    def call(content):
        found = int(traced(tf.constant(content)))
        assert orientation.read_orientation(content) == found
        return found

    return call


@pytest.mark.parametrize("put", [in_jpeg, in_png])
@pytest.mark.parametrize("order", [LITTLE, BIG])
def test_each_orientation_is_the_one_that_pillow_reads(read, put, order):
    """In both byte orders, alone and between other entries."""
    for value in range(1, 9):
        for before in ([], [(0x010F, 2, 4, 0), (0x0100, 3, 1, 3)]):
            content = put(build_exif(*before, (0x0112, 3, 1, value), (0x0131, 2, 4, 0), order=order))
            assert read(content) == Image.open(io.BytesIO(content)).getexif()[274] == value


MALFORMED = {
    "no entries": build_exif(),
    "another tag": build_exif((0x0113, 3, 1, 6)),
    "0": build_exif((0x0112, 3, 1, 0)),
    "9": build_exif((0x0112, 3, 1, 9)),
    "65535": build_exif((0x0112, 3, 1, 65535)),
    "32 bits": build_exif((0x0112, 4, 1, 6)),
    "8 bits": build_exif((0x0112, 1, 1, 6)),
    "signed": build_exif((0x0112, 8, 1, 6)),
    "two values": build_exif((0x0112, 3, 2, 6)),
    "no value": build_exif((0x0112, 3, 0, 6)),
    "65537 values": build_exif((0x0112, 3, 65537, 6)),
    "a broken entry first": build_exif((0x0112, 3, 1, 9), ENTRY),
    "another byte order than it says": build_exif(ENTRY, order=BIG, mark=b"II*\0"),
    "no TIFF": build_exif(ENTRY, mark=b"II+\0"),
    "a directory behind the end": build_exif(ENTRY, start=1000),
    "a directory at 4 GB": build_exif(ENTRY, start=2**32 - 1),
    "a directory at 2 GB": build_exif(ENTRY, start=2**31),
    "a directory of half an entry": build_exif(ENTRY)[:16],
    "a directory in the last byte": build_exif(start=13, number=1)[:14],
    "a mark only": b"II*\0",
    "half a mark": b"II",
    "nothing": b"",
}


@pytest.mark.parametrize("put", [in_jpeg, in_png])
@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_block_counts_as_upright(read, put, kind):
    """In both decoders; the image is read."""
    assert read(put(MALFORMED[kind])) == 1


def test_a_directory_that_promises_more_entries_than_follow_is_read_to_its_end(read):
    """Pillow reads it as well."""
    for content in (in_jpeg(build_exif(ENTRY, number=65535)), in_png(build_exif(ENTRY, number=5))):
        assert read(content) == 6


def test_the_first_exif_segment_before_the_frame_counts(read):
    """Behind any other segments, and not what only looks like one."""
    block, upside_down = segment(0xE1, b"Exif\0\0" + build_exif(ENTRY)), build_exif((0x0112, 3, 1, 3))
    other = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>")
    extended = segment(0xE1, b"Exif\0\1" + upside_down)
    assert read(insert(other, extended, segment(0xFE, bytes(70)), block)) == 6
    assert read(insert(block, segment(0xE1, b"Exif\0\0" + upside_down))) == 6
    assert read(insert(segment(0xE1, b"Exif\0\0"), block)) == 1
    assert read(insert(segment(0xE2, b"Exif\0\0" + upside_down))) == 1
    assert read(insert(segment(0xFE, block), other)) == 1
    frame = encode().index(b"\xff\xc0")
    assert read(encode()[: frame + 19] + block + encode()[frame + 19 :]) == 1
    thumbnail = encode_larger("JPEG")
    thumbnail = thumbnail[:2] + segment(0xE1, b"Exif\0\0" + upside_down) + thumbnail[2:]
    assert read(insert(segment(0xE1, b"Exif\0\0" + build_exif(ENTRY) + thumbnail))) == 6
    assert read(insert(segment(0xE3, thumbnail))) == 1


@pytest.mark.parametrize("length", range(238, 262))
def test_a_segment_is_found_wherever_a_window_ends(read, length):
    """Its marker or its mark may lie on the border of two windows of the walk."""
    assert read(insert(segment(0xFE, bytes(length)), segment(0xE1, b"Exif\0\0" + build_exif(ENTRY)))) == 6


def test_the_first_exif_chunk_before_the_pixels_counts(read):
    """Not one that stands behind them, or behind 32 chunks, or in another chunk."""
    block, png = (b"eXIf", build_exif(ENTRY)), encode("png")
    assert read(insert_chunks(png, (b"tEXt", b"a\0eXIf"), block, (b"eXIf", build_exif((0x0112, 3, 1, 3))))) == 6
    assert read(insert_chunks(png, *[(b"abCd", b"")] * 30, block)) == 6
    assert read(insert_chunks(png, *[(b"abCd", b"")] * 32, block)) == 1
    assert read(insert_chunks(png, (b"tEXt", block[0] + block[1]))) == 1
    chunk = insert_chunks(png, block)[33 : 33 + 12 + len(block[1])]
    assert read(png[:-12] + chunk + png[-12:]) == 1


@pytest.mark.parametrize("kind", ["gif", "bmp"])
def test_other_formats_are_upright(read, kind):
    assert read(encode(kind)) == 1


def test_a_block_of_64_kilobytes_of_entries_is_read_at_once(read):
    """The directory is decoded as one array, however many entries it has."""
    entries = build_exif(*[(0x0113, 3, 1, 3)] * 5400, ENTRY)
    assert read(in_jpeg(entries)) == 6


def test_many_segments_like_exif_cost_one_step_each_only_until_the_first_is_found(read):
    """Behind it they are jumped over like others: 99,000 of them are no more than 1,000 steps."""
    assert read(insert(*[segment(0xE1, b"Exif\0\0")] * 99_000)) == 1


def test_mutated_blocks_have_the_same_orientation_in_the_graph_and_in_python():
    """Eagerly, on the block alone."""
    random = np.random.default_rng(0)
    for _ in range(100):
        block = mutate(build_exif((0x010F, 2, 4, 0), ENTRY, order=random.choice([LITTLE, BIG])), random)
        assert int(exif.read_orientation(tf.constant(block))) == orientation._parse(block), block.hex()


def mutate(block, random):
    """Changes, inserts and removes bytes of a block."""
    block = bytearray(block)
    for _ in range(random.integers(1, 5)):
        at = int(random.integers(len(block) + 1))
        match random.integers(3):
            case 0:
                block[at : at + 1] = bytes([random.choice([0, 1, 2, 3, 6, 8, 9, 0x12, 0x2A, 0x49, 0x4D, 255])])
            case 1:
                block[at:at] = bytes(random.integers(0, 256, random.integers(1, 13), np.uint8).tolist())
            case 2:
                del block[at : at + int(random.integers(1, 9))]
    return bytes(block)
