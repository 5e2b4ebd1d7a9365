"""Measures the costliest small file of each kind: seconds of one core, and memory, in ingest and in the graph.

Each file is read in a process of its own, with a limit to its time and memory. The memory is what it adds to that of
an ordinary image.

Run: .venv/bin/python -m benchmarks.hostile_images [--only PNG] [--megabytes 5]
"""

import argparse
import io
import json
import multiprocessing
import os
import resource
import struct
import tempfile
import zlib
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from PIL import Image

from components.example_gen.layout import ImageFile
from components.example_gen.reading import read_image
from components.transform.preprocessing import preprocess_images

MAX_MEGAPIXELS = 100.0
SECONDS, MEMORY = 120, 12 << 30  # limits of a process
Make = Callable[[int], bytes]


def encode(kind: str, width: int = 64, height: int = 64, mode: str = "RGB", **options: object) -> bytes:
    """The bytes of a black image."""
    file = io.BytesIO()
    Image.new(mode, (width, height)).save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, content: bytes = b"") -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def insert(content: bytes, at: int, part: bytes, size: int) -> bytes:
    """The same file with as many of a part as make it that large, in bytes."""
    return content[:at] + part * (size // len(part)) + content[at:]


def png_with(*part: bytes) -> Make:
    """A PNG full of a chunk behind its header."""
    return lambda size: insert(encode("PNG"), 33, chunk(*part), size)


def jpeg_with(part: bytes, before: bytes) -> Make:
    """A JPEG full of a segment before a marker."""
    return lambda size: insert(jpeg := encode("JPEG"), jpeg.index(before), part, size)


def gif_with(start: bytes, part: bytes, end: bytes = b"") -> Make:
    """A GIF full of blocks before its frame."""

    def make(size: int) -> bytes:
        gif = encode("GIF", mode="P")
        first = 13 + 3 * (2 << gif[10] % 8)
        return gif[:first] + start + part * (size // len(part)) + end + gif[first:]

    return make


def scans(width: int, height: int, number: int, mode: str = "L", **options: object) -> Make:
    """A JPEG with more scans, each empty."""
    more = b"\xff\xda\0\x08\1\1\0\1\x3f\0" * number
    return lambda size: encode("JPEG", width, height, mode, **options)[:-2] + more[:size] + b"\xff\xd9"


def long_pixels(size: int) -> bytes:
    """A PNG whose compressed pixels go on behind its last row."""
    compressor, megabyte = zlib.compressobj(9), bytes(1_000_000)
    packed = b"".join(compressor.compress(megabyte) for _ in range(size // 1000)) + compressor.flush()
    return encode("PNG")[:33] + chunk(b"IDAT", packed) + chunk(b"IEND")


UNFOLDED = zlib.compress(bytes(7_900_000), 9)
FILES: dict[str, Make] = {
    "PNG, plain": lambda size: encode("PNG"),
    "PNG, 16 zTXt of 8 MB": lambda size: insert(
        encode("PNG"), 33, text := chunk(b"zTXt", b"a\0\0" + UNFOLDED), 16 * len(text)
    ),
    "PNG, zTXt of 8 MB": png_with(b"zTXt", b"a\0\0" + UNFOLDED),
    "PNG, iTXt of 8 MB": png_with(b"iTXt", b"a\0\1\0\0\0" + UNFOLDED),
    "PNG, iCCP of 8 MB": png_with(b"iCCP", b"a\0\0" + UNFOLDED),
    "PNG, tiny zTXt": png_with(b"zTXt", b"a\0\0" + zlib.compress(b"")),
    "PNG, tiny tEXt": png_with(b"tEXt", b"a\0"),
    "PNG, empty IDAT": png_with(b"IDAT"),
    "PNG, unknown": png_with(b"abCd"),
    "PNG, sPLT": png_with(b"sPLT", b"a\0\x08xxxxxx"),
    "PNG, acTL": png_with(b"acTL", bytes(8)),
    "PNG, eXIf": png_with(b"eXIf", b"II*\0" + bytes(4)),
    "PNG, pixels behind the last row": long_pixels,
    "PNG, 100 megapixels": lambda size: encode("PNG", 10_000, 10_000),
    "JPEG, plain": lambda size: encode("JPEG"),
    "JPEG, fill before SOF": jpeg_with(b"\xff", b"\xff\xc0"),
    "JPEG, fill before SOS": jpeg_with(b"\xff", b"\xff\xda"),
    "JPEG, empty APP5 before SOF": jpeg_with(b"\xff\xe5\0\2", b"\xff\xc0"),
    "JPEG, empty APP5 before SOS": jpeg_with(b"\xff\xe5\0\2", b"\xff\xda"),
    "JPEG, EXIF before SOS": jpeg_with(b"\xff\xe1\0\x08Exif\0\0", b"\xff\xda"),
    "JPEG, RST before SOS": jpeg_with(b"\xff\xd3", b"\xff\xda"),
    "JPEG, APP5 behind the scan": jpeg_with(b"\xff\xe5\0\2", b"\xff\xd9"),
    "JPEG, DHT behind the scan": jpeg_with(b"\xff\xc4\0\x14\0\1" + bytes(15) + b"\1", b"\xff\xd9"),
    "JPEG, 500 scans, 4 megapixels": scans(2000, 2000, 500, progressive=True),
    "JPEG, 1,000 scans, 90 megapixels": scans(9500, 9500, 1000, progressive=True),
    "JPEG, 10 more scans, 100 megapixels": scans(10_000, 10_000, 10, progressive=True),
    "JPEG, scans, 0.06 megapixels": scans(256, 256, 500_000, progressive=True),
    "JPEG, scans, 64 pixels": scans(8, 8, 500_000, progressive=True),
    "JPEG, 100 megapixels": lambda size: encode("JPEG", 10_000, 10_000, progressive=True),
    "GIF, plain": lambda size: encode("GIF", mode="P"),
    "GIF, comment of 1-byte blocks": gif_with(b"!\xfe", b"\1x", b"\0"),
    "GIF, comment of large blocks": gif_with(b"!\xfe", b"\xff" + bytes(255), b"\0"),
    "GIF, empty extensions": gif_with(b"", b"!\xfe\0"),
    "GIF, tiny extensions": gif_with(b"", b"!\xfe\1x\0"),
    "GIF, 100 megapixels": lambda size: encode("GIF", 10_000, 10_000, "P"),
    "BMP, bytes too many": lambda size: encode("BMP") + bytes(size),
}


def read_in_ingest(content: bytes) -> str:
    """Reads a file as a run does; returns the reason why it is left out."""
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "a.jpg"), "wb") as file:
            file.write(content)
        return read_image(ImageFile("a.jpg", "cat", "", "", len(content), 0), folder, MAX_MEGAPIXELS).problem


def trace_graph() -> Callable[[bytes], str]:
    """Traces the preprocessing; returns a function that gives the reason why it refuses a file."""
    signature = [tf.TensorSpec([None], tf.string)]
    graph = tf.function(lambda images: preprocess_images(images, 224, MAX_MEGAPIXELS), input_signature=signature)
    traced = graph.get_concrete_function()

    def read(content: bytes) -> str:
        try:
            traced(tf.constant([content]))
        except tf.errors.InvalidArgumentError as error:
            return str(error.message).splitlines()[0]
        return ""

    return read


def measure(
    name: str, where: str, size: int, results: "multiprocessing.SimpleQueue[tuple[float, float, int, str]]"
) -> None:
    """Reads an ordinary image, then the hostile one; puts seconds, megabytes, size and reason."""
    content = FILES[name](size)
    read = read_in_ingest if where == "ingest" else trace_graph()
    read(encode(name[:4].strip(", "), mode="P" if name.startswith("GIF") else "RGB"))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak begins anew; proc(5)
    before, started = read_peak(), os.times()
    reason = read(content)
    ended = os.times()
    seconds = ended.user + ended.system - started.user - started.system
    results.put((round(seconds, 2), round(read_peak() - before), len(content), reason))


def read_peak() -> float:
    """Peak of resident memory, in megabytes."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1000 for line in file if line.startswith("VmHWM"))


def main() -> None:
    """Prints a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="names that begin so")
    parser.add_argument("--megabytes", type=float, default=5.0, help="what a file is filled to")
    arguments = parser.parse_args()
    rows = []
    for name in (name for name in FILES if name.startswith(arguments.only)):
        for where in ("ingest", "graph"):
            results = multiprocessing.get_context("fork").SimpleQueue()
            process = multiprocessing.get_context("fork").Process(
                target=measure, args=(name, where, int(arguments.megabytes * 1e6), results)
            )
            process.start()
            process.join()
            seconds, megabytes, size, reason = (
                (SECONDS, 0, 0, "ended by its limits") if results.empty() else results.get()
            )
            rows.append({"file": name, "where": where, "seconds": seconds, "megabytes": megabytes, "bytes": size})
            print(
                f"{name:36s} {where:6s} {size / 1e6:5.2f} MB  {seconds:6.2f} s {megabytes:6.0f} MB  {reason[-90:]}",
                flush=True,
            )
    print(json.dumps({"runs": rows}))


if __name__ == "__main__":
    main()
