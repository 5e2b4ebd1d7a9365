"""`./graft convert`: kinds of images, names, existing files and failures."""

import fcntl
import io
import json
import os
import pathlib
import random
import re
import resource
import subprocess
import sys

import numpy as np
import pytest
from command_line import make_typist
from heic_files import ADOBE_RGB, EXIF_ONLY, build_heic
from image_files import FILES, add_scans, draw, encode, halve, insert_comment, insert_texts
from odd_colours import adobe_rgb_to_srgb, build_adobe_rgb, build_cmyk, build_tiff, lab_to_srgb
from PIL import Image
from terminals import open_terminal

from components.example_gen.layout import ImageFile, list_images
from components.example_gen.reading import read_image
from components.images.formats import CONVERTIBLE, READABLE
from pipeline import cli
from pipeline.commands.checks import ROOT
from pipeline.config.config import Config
from pipeline.convert import convert, pillow
from pipeline.convert.names import choose_targets

KINDS = {"webp": "WEBP", "tif": "TIFF", "avif": "AVIF", "jp2": "JPEG2000"}
# The rows of docs/images.md that are refused, and become JPEG.
CONVERTED = {"BMP, 1-bit", "WebP", "TIFF", "JPEG 2000", "JPEG whose size stands too far behind"}


@pytest.fixture
def data(tmp_path):
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def type_convert(monkeypatch, capfd, data, out):
    """Types `./graft convert` with the two folders, or with others, and options."""
    typist = make_typist(monkeypatch, capfd, cli.main, "convert")
    return lambda *options, folders=(data, out): typist(*folders, *options)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def save(pixels, file_format="WEBP", **options):
    """Returns the bytes of an image, nearly without losses."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    lossless = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100}}
    file = io.BytesIO()
    image.save(
        file, file_format, **lossless.get(file_format, {"quality": 100} if file_format == "JPEG" else {}), **options
    )
    return file.getvalue()


def fill(colour, mode="RGB"):
    return Image.new(mode, (24, 16), colour)


def open_pixels(path):
    """Returns uint8 [height, width, 3] as a program without EXIF sees it; of a JPEG only."""
    with Image.open(path, formats=["JPEG"]) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def list_tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def quadrants():
    """Red, green; blue, white; uint8 [32, 48, 3]."""
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:16, :24], pixels[:16, 24:], pixels[16:, :24], pixels[16:, 24:] = (
        (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255),
    )  # fmt: skip
    return pixels


# What a camera stores of an upright image, by EXIF 2.32, 4.6.4: where the 0th row and the 0th column are to be seen.
STORED = {
    1: lambda upright: upright,  # top, left
    2: lambda upright: upright[:, ::-1],  # top, right
    3: lambda upright: upright[::-1, ::-1],  # bottom, right
    4: lambda upright: upright[::-1],  # bottom, left
    5: lambda upright: upright.swapaxes(0, 1),  # left, top
    6: lambda upright: upright.swapaxes(0, 1)[::-1],  # right, top
    7: lambda upright: upright.swapaxes(0, 1)[::-1, ::-1],  # right, bottom
    8: lambda upright: upright.swapaxes(0, 1)[:, ::-1],  # left, bottom
}


@pytest.mark.parametrize("kind", ["webp", "tif", "avif", "jpg"])
def test_each_orientation_comes_out_upright(type_convert, data, out, kind):
    """Whether the parser turns the image, as that of TIFF does, or not; no tag is left to turn it again."""
    for orientation, store in STORED.items():
        exif = Image.Exif()
        exif[274] = orientation
        stored = np.ascontiguousarray(store(quadrants()))
        write(data / "cat" / f"{orientation}.{kind}", save(stored, KINDS.get(kind, "JPEG"), exif=exif))
    typed = type_convert()
    assert typed.code == 0
    for orientation in STORED:
        pixels = open_pixels(out / "cat" / f"{orientation}.jpg")
        assert pixels.shape == (32, 48, 3)
        centres = pixels[8::16, 12::24]
        assert np.abs(centres - quadrants()[8::16, 12::24]).max() < 12
        with Image.open(out / "cat" / f"{orientation}.jpg") as image:
            assert image.getexif().get(274, 1) == 1
    if kind == "jpg":
        assert (out / "cat" / "1.jpg").read_bytes() == (data / "cat" / "1.jpg").read_bytes()
        assert "Turned:        7 JPEG" in typed.out


@pytest.mark.parametrize("mirror", [None, 0, 1])
@pytest.mark.parametrize("quarter_turns", range(4))
def test_heic_is_turned_and_mirrored_as_its_properties_say(type_convert, data, out, quarter_turns, mirror):
    """In this order, and once."""
    write(data / "cat" / "1.heic", build_heic(quarter_turns, mirror))
    assert type_convert().code == 0
    upright = np.rot90(quadrants(), quarter_turns)
    upright = {None: upright, 0: upright[::-1], 1: upright[:, ::-1]}[mirror]
    pixels = open_pixels(out / "cat" / "1.jpg")
    assert pixels.shape == upright.shape
    assert np.abs(pixels[6::12, 6::12] - upright[6::12, 6::12]).max() < 12


def test_heic_goes_by_its_own_rotation_alone(type_convert, data, out):
    """ISO/IEC 23008-12 leaves EXIF out of it, and so do phones and browsers."""
    write(data / "cat" / "1.heic", EXIF_ONLY)
    assert type_convert().code == 0
    assert open_pixels(out / "cat" / "1.jpg").shape == (32, 48, 3)


@pytest.mark.parametrize("kind", ["heic", "webp", "tif", "avif", "jpg"])
def test_profile_becomes_srgb(type_convert, data, out, kind):
    """A photograph in Adobe RGB looks as it does in a browser; a JPEG is touched only where it must be turned."""
    colour = (200, 100, 60)
    exif = Image.Exif()
    exif[274] = 3
    options = {"icc_profile": build_adobe_rgb(), "exif": exif}
    content = ADOBE_RGB if kind == "heic" else save(fill(colour), KINDS.get(kind, "JPEG"), **options)
    write(data / "cat" / f"1.{kind}", content)
    assert type_convert().code == 0
    assert np.abs(open_pixels(out / "cat" / "1.jpg") - adobe_rgb_to_srgb(colour)).max() <= 3
    assert np.abs(np.array(colour) - adobe_rgb_to_srgb(colour)).max() > 20


def test_cmyk_goes_by_its_profile_or_by_the_simple_rule(type_convert, data, out):
    """Cyan of a printer whose cyan is a pale red; and cyan of none."""
    cyan = fill((255, 0, 0, 0), "CMYK")
    write(data / "cat" / "printed.tif", save(cyan, "TIFF", icc_profile=build_cmyk(60, 40, 20)))
    write(data / "cat" / "plain.tif", save(cyan, "TIFF"))
    assert type_convert().code == 0
    assert np.abs(open_pixels(out / "cat" / "printed.jpg") - lab_to_srgb(60, 40, 20)).max() <= 4
    assert np.abs(open_pixels(out / "cat" / "plain.jpg") - (0, 255, 255)).max() <= 3


@pytest.mark.parametrize("profile", [b"broken" * 40, build_cmyk(60, 40, 20)])
def test_profile_that_is_broken_or_of_another_mode_is_ignored(type_convert, data, out, profile):
    """As browsers do."""
    write(data / "cat" / "1.tif", save(fill((200, 100, 60)), "TIFF", icc_profile=profile))
    assert type_convert().code == 0
    assert np.abs(open_pixels(out / "cat" / "1.jpg") - (200, 100, 60)).max() <= 3


def test_16_bits_keep_their_upper_8(type_convert, data, out):
    """A gradient from black to white, gray and in colour; with white as 0 it is inverted."""
    levels = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (16, 1))
    colours = np.stack([levels, levels[:, ::-1], np.full_like(levels, 0x8000)], axis=-1)
    write(data / "cat" / "gray.tif", build_tiff(levels, photometric=1))
    write(data / "cat" / "big_endian.tif", save(Image.fromarray(levels.astype(">u2")), "TIFF"))
    write(data / "cat" / "white_is_zero.tif", build_tiff(levels, photometric=0))
    write(data / "cat" / "colour.tif", build_tiff(colours, photometric=2))
    write(data / "cat" / "netpbm.pgm", b"P5 64 16 65535\n" + levels.astype(">u2").tobytes())
    write(data / "cat" / "jpeg2000.jp2", save(Image.fromarray(levels), "JPEG2000"))
    assert type_convert().code == 0
    upper = (levels >> 8)[..., None].astype(int)
    for name in ("gray", "big_endian", "netpbm", "jpeg2000"):
        assert np.abs(open_pixels(out / "cat" / f"{name}.jpg") - upper).max() <= 4, name
    assert np.abs(open_pixels(out / "cat" / "white_is_zero.jpg") - (255 - upper)).max() <= 4
    assert np.abs(open_pixels(out / "cat" / "colour.jpg") - (colours >> 8)).mean() <= 3


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("float.tif", lambda: build_tiff(np.zeros((9, 9), np.float32), 1, 3), "fractional or 32-bit"),
        ("signed.tif", lambda: build_tiff(np.zeros((9, 9), np.int16), 1, 2), "fractional or 32-bit"),
        ("raw.tif", lambda: build_tiff(np.zeros((9, 9, 3), np.uint8), 2, 1, [(254, 1)]), "the raw file of a camera"),
        ("raw.dng", lambda: build_tiff(np.zeros((9, 9, 3), np.uint8), 2, 1, [(50706, 1)]), "the raw file of a camera"),
    ],
)
def test_what_has_no_right_answer_is_left_out(type_convert, data, out, name, make, reason):
    """The value of white is unknown, or only a thumbnail is readable."""
    write(data / "cat" / name, make())
    typed = type_convert()
    assert typed.code == 3
    assert typed.err.startswith(f"graft: cat/{name}: ")
    assert reason in typed.err
    assert list_tree(out) == []


def test_transparent_is_white(type_convert, data, out):
    """Whatever colour lies below; half of it is half as much, and a palette has transparent entries, too."""
    for kind in ("webp", "tif", "avif", "jp2"):
        write(data / "cat" / f"clear_{kind}.{kind}", save(fill((0, 90, 0, 0), "RGBA"), KINDS[kind]))
        write(data / "cat" / f"half_{kind}.{kind}", save(fill((0, 90, 0, 128), "RGBA"), KINDS[kind]))
    write(data / "cat" / "gray.tif", save(fill((0, 0), "LA"), "TIFF"))
    assert type_convert().code == 0
    for kind in ("webp", "tif", "avif", "jp2"):
        assert open_pixels(out / "cat" / f"clear_{kind}.jpg").min() >= 252
        assert np.abs(open_pixels(out / "cat" / f"half_{kind}.jpg") - (127, 172, 127)).max() <= 5
    assert open_pixels(out / "cat" / "gray.jpg").min() >= 252


def test_palette_and_black_and_white_keep_their_colours(type_convert, data, out):
    """A BMP of one bit becomes JPEG, too, for TensorFlow reads none."""
    palette = fill((200, 100, 60)).convert("P", palette=Image.Palette.ADAPTIVE)
    write(data / "cat" / "palette.tif", save(palette, "TIFF"))
    write(data / "cat" / "fax.tif", save(fill(1, "1"), "TIFF", compression="group4"))
    write(data / "cat" / "bits.bmp", save(fill(1, "1"), "BMP"))
    typed = type_convert()
    assert typed.code == 0
    assert np.abs(open_pixels(out / "cat" / "palette.jpg") - (200, 100, 60)).max() <= 3
    assert open_pixels(out / "cat" / "fax.jpg").min() >= 252
    assert open_pixels(out / "cat" / "bits.jpg").min() >= 252
    assert "Converted:     2 TIFF, 1 BMP" in typed.out


def test_first_page_or_frame_is_taken_and_that_is_said(type_convert, data, out):
    """The others would be lost in silence."""
    more = {"save_all": True, "append_images": [fill((0, 0, 255))]}
    write(data / "cat" / "pages.tif", save(fill((255, 0, 0)), "TIFF", **more))
    write(data / "cat" / "frames.webp", save(fill((255, 0, 0)), "WEBP", **more))
    write(data / "cat" / "one.webp", save(fill((255, 0, 0)), "WEBP"))
    typed = type_convert()
    assert "Pages dropped: 2 " in typed.out
    for name in ("pages", "frames", "one"):
        assert np.abs(open_pixels(out / "cat" / f"{name}.jpg") - (255, 0, 0)).max() <= 3


@pytest.mark.parametrize("kind", ["webp", "heic", "jpg"])
def test_place_and_comments_are_not_written(type_convert, data, out, kind):
    """The place of a photograph is private."""
    exif = Image.Exif()
    exif[274] = 6
    exif[270] = "my house"
    exif.get_ifd(0x8825)[2] = (52.0, 30.0, 0.0)
    options = {"xmp": b"<x>my house</x>", "exif": exif} | ({"comment": b"my house"} if kind == "jpg" else {})
    source = write(data / "cat" / f"1.{kind}", save(quadrants(), KINDS.get(kind, "JPEG"), **options))
    assert b"my house" in source.read_bytes()
    assert type_convert().code == 0
    assert b"my house" not in (out / "cat" / "1.jpg").read_bytes()
    with Image.open(out / "cat" / "1.jpg") as image:
        assert not image.getexif()
        assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


def test_what_ingest_reads_is_copied_and_all_that_is_written_is_read(type_convert, data, out):
    """Of every kind in docs/images.md, each in its own folder; whatever is neither is listed."""
    read = {}
    for index, (kind, make) in enumerate(FILES.items()):
        folder = f"{index:02d}"
        content = make()
        write(data / folder / "1.jpg", content)
        file = ImageFile(f"{folder}/1.jpg", folder, "", "", len(content), 0)
        read[folder] = kind, content, not read_image(file, str(data), 1.0).broken
    typed = type_convert("--max-megapixels", "1", "--json")
    left_out = {entry["path"].split("/")[0] for entry in json.loads(typed.out)["not_converted"]}
    assert typed.code == 3
    for folder, (kind, content, is_read) in read.items():
        written = out / folder / "1.jpg"
        assert written.exists() == (is_read or kind in CONVERTED), kind
        assert written.exists() == (folder not in left_out), kind
        if is_read and kind not in ("JPEG with EXIF orientation", "JPEG, large"):  # which lie on their sides
            assert written.read_bytes() == content, kind
    records = [read_image(file, str(out), 1.0) for file in list_images(str(out)).files]
    assert len(records) == sum(is_read for _, _, is_read in read.values()) + len(CONVERTED)
    assert not [record for record in records if record.broken]
    assert [read[r.label][0] for r in records if r.orientation != 1] == ["PNG with EXIF orientation"]  # no JPEG: copied


def test_what_is_cut_off_is_left_out(type_convert, data, out):
    """In every format; the whole ones beside are converted, and nothing but our own lines is printed."""
    pixels = draw(5, 200, 160)
    whole = {kind: save(pixels, name) for kind, name in KINDS.items()}
    whole |= {"jpg": encode("jpeg"), "png": encode("png"), "gif": encode("gif"), "bmp": encode("bmp")}
    whole["lzw.tif"] = save(pixels, "TIFF", compression="tiff_lzw")
    for kind, content in whole.items():
        write(data / "cut" / f"1_{kind}", halve(content))
        write(data / "whole" / f"1_{kind}", content)
    typed = type_convert()
    assert typed.code == 3
    assert sorted(line.split(": ")[1] for line in typed.err.splitlines()) == sorted(f"cut/1_{kind}" for kind in whole)
    assert all(line.startswith("graft: cut/") and "0x" not in line for line in typed.err.splitlines())
    assert len(list_tree(out)) == len(list_tree(out / "whole")) == len(whole)


def test_larger_images_are_left_out_by_their_header(type_convert, data, out):
    """With both numbers; a TIFF whose header claims 3000 x 3000 is stopped by Pillow."""
    write(data / "cat" / "1.webp", save(fill(0).resize((1200, 1000))))
    claim = build_tiff(np.zeros((9, 9), np.uint8), 1).replace(b"\x09\0\0\0", b"\xb8\x0b\0\0")
    write(data / "cat" / "2.tif", claim)
    typed = type_convert("--max-megapixels", "1")
    assert "cat/1.webp: 1200 x 1000 pixels are 1.2 megapixels; --max-megapixels allows 1\n" in typed.err
    assert "cat/2.tif: more than twice the 1 megapixels" in typed.err
    assert type_convert("--max-megapixels", "1.2").err.count("\n") == 1


def test_limit_of_size_is_that_of_a_run():
    """What is converted can be ingested with the same settings."""
    [option] = [option for option in cli.convert.params if option.name == "max_megapixels"]
    assert option.default == Config.model_fields["max_megapixels"].default


def test_names_stay_and_say_what_is_inside(type_convert, data, out):
    """The first bytes decide; side files are passed over and counted, nested folders stay."""
    webp, jpeg = encode("webp"), encode("jpeg")
    for name in ("cat/a.webp", "cat/deep/B.HEIC", "dog/c.jpg", "dog/no_extension", "dog/v1.5 old", "dog/d.png"):
        write(data / name, webp)
    for name in ("cat/e.heic", "dog/f.gif", "dog/plain"):
        write(data / name, jpeg)
    write(data / "dog" / "g.heic", encode("png"))
    for name in ("cat/notes.txt", "cat/Thumbs.db", "cat/.DS_Store"):
        write(data / name, b"text")
    typed = type_convert()
    assert typed.code == 0
    assert list_tree(out) == [
        *("cat/a.jpg", "cat/deep/B.jpg", "cat/e.jpg", "dog/c.jpg", "dog/d.jpg", "dog/f.gif", "dog/g.png"),
        *("dog/no_extension.jpg", "dog/plain", "dog/v1.5 old.jpg"),
    ]
    assert (out / "cat" / "e.jpg").read_bytes() == jpeg
    assert "Ignored:       2 side files (.txt, thumbs.db), 1 hidden file (.DS_Store)" in typed.out


def test_two_of_the_same_name_keep_their_extension(type_convert, data, out):
    """Beside a file that is copied, beside each other, and in upper or lower case."""
    for name in ("a.heic", "a.webp", "b.webp", "C.webp", "c.heic", "lone.webp"):
        write(data / "cat" / name, encode("webp", seed=1))
    write(data / "cat" / "b.jpg", encode("jpeg"))
    assert type_convert().code == 0
    assert list_tree(out) == [
        *("cat/C.webp.jpg", "cat/a.heic.jpg", "cat/a.webp.jpg", "cat/b.jpg", "cat/b.webp.jpg", "cat/c.heic.jpg"),
        "cat/lone.jpg",
    ]


def test_no_two_names_are_alike_in_any_order():
    """Not those that the longer names would take, nor folders, nor two forms of Unicode."""
    copied = dict.fromkeys(["a.heic.jpg", "x.jpg/y.png", "E\u0301.jpg", "A.JPG", "a.jpg"], "JPEG")
    copied |= dict.fromkeys(["a.heic", "a.webp", "A.heic", "x.heic", "\u00e9.webp"], "")
    targets = choose_targets(copied)
    assert targets["a.heic.jpg"] == "a.heic.jpg"
    assert targets["A.JPG"] == "A.JPG"
    assert targets["x.heic"] == "x.heic.jpg"
    assert targets["\u00e9.webp"] == "\u00e9.webp.jpg"
    assert len({name.casefold() for name in targets.values()}) == len(copied)
    for seed in range(5):
        names = list(copied)
        random.Random(seed).shuffle(names)
        assert choose_targets({name: copied[name] for name in names}) == targets


def test_same_command_again_does_only_what_is_missing(type_convert, data, out):
    """What is there is neither written nor decoded again; a new photograph is converted."""
    write(data / "cat" / "1.webp", encode("webp"))
    write(data / "cat" / "2.jpg", encode("jpeg"))
    type_convert()
    before = {path: os.stat(path).st_ino for path in out.rglob("*.jpg")}
    write(data / "cat" / "3.webp", encode("webp", seed=3))
    typed = type_convert()
    assert typed.code == 0
    assert "Converted:     1 WebP\nAlready there: 2 " in typed.out
    assert {path: os.stat(path).st_ino for path in before} == before
    assert list_tree(out) == ["cat/1.jpg", "cat/2.jpg", "cat/3.jpg"]


def test_no_file_is_overwritten(type_convert, data, out):
    """Neither a stranger's, nor our own of a source that has changed: that is said, and the file stays."""
    write(data / "cat" / "1.webp", encode("webp"))
    changed = write(data / "cat" / "2.webp", encode("webp"))
    mine = write(out / "cat" / "1.jpg", b"mine")
    write(out / "cat" / "more.jpg", b"mine, too")
    assert type_convert().code == 3
    old = (out / "cat" / "2.jpg").read_bytes()
    changed.write_bytes(encode("webp", seed=2))
    os.utime(changed, (2e9, 2e9))
    typed = type_convert()
    assert typed.code == 3
    assert typed.err.count("is there already, from another file or an older state; remove it") == 2
    assert mine.read_bytes() == b"mine"
    assert (out / "cat" / "2.jpg").read_bytes() == old
    assert "Others:        1 in " in typed.out
    mine.unlink()
    (out / "cat" / "2.jpg").unlink()
    assert type_convert().code == 0
    assert (out / "cat" / "2.jpg").read_bytes() != old


def test_time_of_a_coarse_file_system_is_enough(type_convert, data, out):
    """FAT keeps even seconds."""
    source = write(data / "cat" / "1.webp", encode("webp"))
    os.utime(source, ns=(0, 1_700_000_001_234_567_890))
    type_convert()
    assert os.stat(out / "cat" / "1.jpg").st_mtime_ns == 1_700_000_001_234_567_890
    os.utime(out / "cat" / "1.jpg", ns=(0, 1_700_000_000_000_000_000))
    assert "Already there: 1" in type_convert().out


def test_interrupted_conversion_goes_on_where_it_ended(type_convert, data, out, monkeypatch):
    """Existing files are complete; the interrupted one is written again, and no part of it stays."""
    for index in range(8):
        write(data / "cat" / f"{index}.webp", encode("webp", seed=index))

    unfinished = []

    def interrupt(source, target):
        if target.endswith("3.jpg"):
            unfinished.append(source)
            raise KeyboardInterrupt
        os.rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(convert.os, "replace", interrupt)
        assert type_convert().code == 130
    names = list_tree(out)
    assert not [name for name in names if name.startswith("cat/.")]
    assert "cat/0.jpg" in names
    assert "cat/3.jpg" not in names
    for path in out.glob("cat/[0-9].jpg"):
        assert open_pixels(path).shape == (12, 20, 3)
    pathlib.Path(unfinished[0]).write_bytes(b"half")  # as a process leaves it that is killed
    assert "Already there: " in type_convert().out
    assert list_tree(out) == [f"cat/{index}.jpg" for index in range(8)]


def test_full_disk_is_said_and_loses_nothing(type_convert, data, out):
    """The file is named, no half of it is left, and the same command goes on."""
    write(data / "cat" / "1.webp", encode("webp"))
    write(data / "cat" / "2.jpg", save(draw(1, 300, 300), "JPEG"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        typed = type_convert()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert typed.code == 1
    assert f"graft: {out}/cat/2.jpg: cannot be written: File too large. Make room" in typed.err
    assert list_tree(out) in (["cat/1.jpg"], [])
    assert type_convert().code == 0
    assert list_tree(out) == ["cat/1.jpg", "cat/2.jpg"]


@pytest.mark.parametrize(
    ("folders", "code", "message"),
    [
        (("missing", "out"), 3, "missing: no such folder"),
        (("photos/cat/1.webp", "out"), 3, "expected a folder with images, and this is a file"),
        (("empty", "out"), 3, "empty: no file in this folder"),
        (("photos", "photos"), 2, "one of them is inside the other"),
        (("photos", "photos/out"), 2, "one of them is inside the other"),
        (("photos/cat", "."), 2, "one of them is inside the other"),
        (("photos", "link/out"), 2, "one of them is inside the other"),
        (("photos", "file"), 2, "and this is a file"),
        (("photos", "gs://bucket/out"), 2, "expected a folder of this machine"),
        (("photos", "/proc/graft-out"), 1, "/proc/graft-out: cannot be written"),
        (("photos", "out", "--max-megapixels", "0"), 2, "--max-megapixels"),
    ],
)
def test_folders_that_will_not_do_are_refused(type_convert, data, tmp_path, monkeypatch, folders, code, message):
    """With what to do, and before anything is written."""
    monkeypatch.chdir(tmp_path)
    write(data / "cat" / "1.webp", encode("webp"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(data)
    before = list_tree(tmp_path)
    typed = type_convert(folders=folders)
    assert typed.code == code
    assert message in typed.err
    assert list_tree(tmp_path) == before
    assert not (tmp_path / "out").exists()


def test_one_process_writes_at_a_time(type_convert, data, out):
    """Two would count each other's files."""
    write(data / "cat" / "1.webp", encode("webp"))
    out.mkdir()
    folder = os.open(out, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    typed = type_convert()
    os.close(folder)
    assert (typed.code, list_tree(out)) == (1, [])
    assert "another ./graft convert writes here" in typed.err
    assert type_convert().code == 0


def test_links_are_followed_and_end(type_convert, data, out):
    """One back up, one to nowhere and a pipe hold nobody up; a linked file is converted once."""
    write(data / "cat" / "1.webp", encode("webp"))
    (data / "cat" / "2.webp").symlink_to("1.webp")
    (data / "cat" / "up").symlink_to("..")
    (data / "cat" / "3.webp").symlink_to("nowhere")
    os.mkfifo(data / "cat" / "4.webp")
    typed = type_convert()
    assert typed.code == 3
    assert "cat/3.webp: cannot be read: No such file" in typed.err
    assert re.search(
        r"Ignored: +1 named pipe, which is no file \(cat/4.webp\), 1 link that leads back \(up\), "
        r"1 link to what is read already \(cat/2.webp\)",
        typed.out,
    )
    assert list_tree(out) == ["cat/1.jpg"]
    (data / "dog").symlink_to(out)
    assert "leads into the folder to write" in type_convert().err


def test_names_cannot_command_the_terminal(type_convert, data, out):
    """Escapes are shown, not obeyed; a name that is not UTF-8 is refused, as in a run."""
    write(data / "cat" / "\x1b[2Jx\n.jpg", b"text")
    typed = type_convert()
    assert typed.err == "graft: cat/\\x1b[2Jx\\n.jpg: not an image\n"
    write(data / "cat" / os.fsdecode(b"\xff.jpg"), encode("jpeg"))
    typed = type_convert()
    assert typed.code == 3
    assert "is not UTF-8. Rename it" in typed.err


def test_twenty_problems_are_listed_and_json_has_all(type_convert, data):
    """One object on the standard output, with what was done."""
    for index in range(23):
        write(data / "cat" / f"{index:02d}.jpg", b"")
    write(data / "cat" / "good.webp", encode("webp"))
    typed = type_convert("--json")
    assert typed.code == 3
    lines = typed.err.splitlines()
    assert len(lines) == 21
    assert lines[0] == "graft: cat/00.jpg: empty file"
    assert lines[20] == "graft: and 3 more; --json has all"
    found = json.loads(typed.out)
    assert found["converted"] == {"WebP": 1}
    assert found["not_converted"][22] == {"path": "cat/22.jpg", "reason": "empty file"}
    assert [found[key] for key in ("copied", "turned", "already_there", "others")] == [0, 0, 0, 0]


def test_next_command_can_be_pasted(type_convert, data, tmp_path):
    """Quoted for a shell; a folder with fewer than two classes can be asked about, and not trained on."""
    write(data / "cat" / "1.webp", encode("webp"))
    write(data / "dog" / "1.webp", encode("webp"))
    out = tmp_path / "my out"
    assert type_convert(folders=(data, out)).out.endswith(f"Next:          ./graft run '{out}'\n")
    assert type_convert(folders=(data / "cat", tmp_path / "flat")).out.endswith(f"./graft predict {tmp_path}/flat\n")
    write(data / "cat" / "more" / "2.webp", encode("webp"))
    assert type_convert(folders=(data / "cat", tmp_path / "one")).out.endswith(f"./graft predict {tmp_path}/one\n")


def test_terminal_shows_progress_and_no_tensorflow_is_imported(data, out):
    """How many of how many; the summary is on the standard output, without the bar."""
    for path in ("cat/1.webp", "cat/2.webp", "dog/1.webp"):
        write(data / path, encode("webp"))
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from pipeline.cli import main\n"
    code += "try: main()\nfinally: print('tensorflow' in sys.modules)"
    ours, theirs = open_terminal()
    done = subprocess.run(
        [sys.executable, "-c", code, "convert", data, out],
        stdout=subprocess.PIPE,
        stderr=theirs,
        check=True,
        timeout=300,
    )
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "3 of 3" in shown
    assert done.stdout.decode() == f"Converted:     3 WebP\nNext:          ./graft run {out}\nFalse\n"


def test_every_format_that_a_run_advises_to_convert_can_be_converted():
    """And no other: the advice of a run and of check is true."""
    assert set(CONVERTIBLE) == set(pillow._PARSERS) - set(READABLE.values())


@pytest.mark.parametrize(
    ("hostile", "reason"),
    [
        (lambda: insert(b"\xff" * 5_000_000), "a JPEG with more than 1000000 bytes between its segments"),
        (lambda: insert(b"\xff\xe5\0\2" * 1_000_000), "a JPEG with more than 50000 segments"),
        (lambda: add_scans(1100), "a JPEG with 1106 scans (of its size, 1001 are read at most)"),
        (lambda: insert_comment(encode("gif"), *[b"x"] * 2_000_000), "a GIF with too many blocks of comments"),
        (lambda: insert_texts(encode("png"), 400), "cannot be decoded: Decompressed data too large"),
    ],
)
def test_small_files_that_cost_minutes_are_left_out(hostile, reason):
    """Before Pillow reads their header; what is behind an image counts for nothing."""
    with pytest.raises(pillow.ConversionError, match=re.escape(reason)):
        pillow.check_and_orient(hostile(), 100.0)
    photograph = add_scans(3) + b"\xff\xda" * 9000
    assert pillow.check_and_orient(photograph, 100.0) == photograph


def insert(content):
    """Returns a JPEG with bytes inserted behind its first two."""
    return encode("jpeg")[:2] + content + encode("jpeg")[2:]
