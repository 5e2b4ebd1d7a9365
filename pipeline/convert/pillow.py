"""Converts one encoded image to a JPEG that Graft reads: upright, sRGB, 8 bits per channel, without metadata."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np
import pi_heif
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from components.images.formats import JPEG_FRAMES, READABLE, UPRIGHT, name_format
from components.images.orientation import read_orientation
from pipeline.convert.limits import ConversionError, refuse_costly

# Pillow's parser of each format. The first bytes choose the parser: of the forty that Pillow would try, one starts
# Ghostscript.
_PARSERS = {
    **{name: name for name in READABLE.values()},
    "WebP": "WEBP",
    "TIFF": "TIFF",
    "JPEG 2000": "JPEG2000",
    "HEIC": "HEIF",
    "AVIF": "AVIF",
    "Netpbm": "PPM",
}
_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # colour space of an ICC profile to Pillow's mode
_ORIENTATION = 274  # tag 0x0112 of EXIF 2.32; 1 is upright, and some cameras write 0
# Tags of TIFF 6.0, and DNGVersion of DNG 1.6.
_SUBFILE_TYPE, _BITS, _PHOTOMETRIC, _SAMPLE_FORMAT, _DNG_VERSION = 254, 258, 262, 339, 50706
_QUALITY = 95
_MOST_STEPS = 900  # somewhat below the limit of `components.images.jpeg_header`


def can_convert(kind: str) -> bool:
    """Tells whether Pillow can read a format, named as by `components.images.formats.name_format`."""
    return kind in _PARSERS


@contextlib.contextmanager
def set_up_pillow(max_megapixels: float) -> Iterator[None]:
    """Registers the parser of HEIC, sets Pillow's limit of pixels and mutes Pillow's warnings, for all threads.

    Args:
        max_megapixels: limit in millions of pixels; Pillow refuses more than twice as many.
    """
    # `convert_folder` has a thread for each core already.
    pi_heif.register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)
    limit, level = Image.MAX_IMAGE_PIXELS, logging.getLogger("PIL").level
    Image.MAX_IMAGE_PIXELS = int(max_megapixels * 1e6)
    logging.getLogger("PIL").setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit
        logging.getLogger("PIL").setLevel(level)


def check_and_orient(encoded: bytes, max_megapixels: float) -> bytes:
    """Checks an image that Graft reads by decoding it, and turns a JPEG upright.

    Args:
        encoded: the file: JPEG, PNG, GIF or BMP.
        max_megapixels: upper bound on the size of the image, in millions of pixels.
    Returns:
        The same bytes; or a new, upright JPEG if the EXIF orientation is not upright, or if the header has so many
        segments that ingest would not find the size.
    Raises:
        ConversionError: if the image is broken or too large, with the reason.
    """
    with _open(encoded, max_megapixels) as image:
        if image.format in ("JPEG", "MPO"):
            if read_orientation(encoded) != UPRIGHT or _has_long_header(encoded):  # by the rules of ingest
                return _encode(image)
            image.draft("L", (1, 1))  # reads all bytes, and computes an eighth of the pixels per side
        image.load()
    return encoded


def _has_long_header(jpeg: bytes) -> bool:
    """Tells whether `components.images.jpeg_header` might give up before it finds the size.

    Counts steps of at least 256 bytes or one segment. The count is never below the number of steps of that module.
    """
    at, steps = 2, 0
    while steps < _MOST_STEPS:
        marker = jpeg.find(b"\xff", at)
        steps += 1 + (marker - at) // 256
        code = jpeg[marker + 1 : marker + 2]
        if marker < 0 or not code or code[0] in JPEG_FRAMES:
            return False
        if code[0] in (0x00, 0xFF):
            at = marker + 1
        else:
            alone = code[0] == 0x01 or 0xD0 <= code[0] <= 0xDA
            at = marker + 2 + (0 if alone else int.from_bytes(jpeg[marker + 2 : marker + 4], "big"))
    return True


def convert(encoded: bytes, max_megapixels: float) -> tuple[bytes, int]:
    """Converts an image to JPEG: the first page or frame, or the primary image of a HEIC.

    Args:
        encoded: the file, in a format that `can_convert` accepts.
        max_megapixels: upper bound on the size of the image, in millions of pixels.
    Returns:
        The JPEG, and the number of pages or frames in the file.
    Raises:
        ConversionError: if the image is broken, too large, or has pixels without a unique 8-bit value.
    """
    with _open(encoded, max_megapixels) as image:
        frames = getattr(image, "n_frames", 1)
        _refuse_raw(encoded, _read_tags(image))
        return _encode(image), frames


@contextlib.contextmanager
def _open(encoded: bytes, max_megapixels: float) -> Iterator[Image.Image]:
    """Opens an image and checks its size; turns each error inside the context into a ConversionError."""
    refuse_costly(encoded)
    try:
        with Image.open(io.BytesIO(encoded), formats=[_PARSERS[name_format(encoded)]]) as image:
            megapixels = image.width * image.height / 1e6
            if megapixels > max_megapixels:
                claimed = f"{image.width} x {image.height} pixels are {round(megapixels, 2):g} megapixels"
                raise ConversionError(f"{claimed}; --max-megapixels allows {max_megapixels:g}")
            yield image
    except UnidentifiedImageError:  # its message contains a memory address
        raise ConversionError("cannot be decoded: the header is broken") from None
    except Image.DecompressionBombError:
        raise ConversionError(
            f"more than twice the {max_megapixels:g} megapixels that --max-megapixels allows"
        ) from None
    except ConversionError:
        raise
    except Exception as error:  # Pillow's parsers raise errors of many classes, such as SyntaxError and struct.error
        raise ConversionError(f"cannot be decoded: {error or type(error).__name__}") from error


def _encode(image: Image.Image) -> bytes:
    """Decodes an opened image, and encodes it upright."""
    profile = image.info.get("icc_profile")
    tags = dict(_read_tags(image))  # the upright copy of a TIFF has no tags
    image.load()
    upright = _turn_upright(image)
    picture = _apply_profile(_drop_transparency(_reduce_to_8_bits(upright, tags)), profile)
    picture.info.clear()  # else Pillow writes the comment that is in it
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY, subsampling="4:4:4")
    return file.getvalue()


def _read_orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # as in _open; an image with broken EXIF may be whole
        return 1


def _turn_upright(image: Image.Image) -> Image.Image:
    """Applies the EXIF orientation; the parsers of TIFF and HEIC have applied it already, and removed the tag."""
    return ImageOps.exif_transpose(image) if _read_orientation(image) in range(2, 9) else image


def _read_tags(image: Image.Image) -> Mapping[int, Any]:
    """Returns the tags of a TIFF; no tags for other formats."""
    return getattr(image, "tag_v2", {})


def _refuse_raw(encoded: bytes, tags: Mapping[int, Any]) -> None:
    """Refuses raw files of cameras: a TIFF reader sees only the thumbnail at their beginning."""
    if tags.get(_SUBFILE_TYPE, 0) & 1 or _DNG_VERSION in tags or (tags and encoded[8:10] == b"CR"):
        raise ConversionError("begins with a thumbnail, as the raw file of a camera; export the photograph as JPEG")


def _reduce_to_8_bits(image: Image.Image, tags: Mapping[int, Any]) -> Image.Image:
    """Keeps the upper 8 bits of 16-bit gray; Pillow would clip values above 255. Pillow itself reduces RGB to 8 bits.

    Raises:
        ConversionError: for more bits, signed numbers and fractions, whose value of white is unknown.
    """
    if image.mode != "F" and not image.mode.startswith("I"):
        return image
    bits = tags.get(_BITS, (16,))[0]
    if image.mode == "F" or bits > 16 or tags.get(_SAMPLE_FORMAT, (1,))[0] != 1:
        raise ConversionError("signed, fractional or 32-bit gray levels; export the image with 8 or 16 bits a channel")
    levels = (np.asarray(image) >> (bits - 8)).astype(np.uint8)
    return Image.fromarray(255 - levels if tags.get(_PHOTOMETRIC) == 0 else levels)


def _drop_transparency(image: Image.Image) -> Image.Image:
    """Puts a transparent image on white; returns an image of mode L, RGB or CMYK."""
    if image.has_transparency_data:
        pixels = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", pixels.size, "white"), pixels).convert("RGB")
    if image.mode == "1":
        return image.convert("L")
    return image if image.mode in _SPACES.values() else image.convert("RGB")


def _apply_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Converts colours to sRGB by the ICC profile; without a fitting profile converts the mode alone, to RGB or L."""
    if profile:
        with contextlib.suppress(ImageCms.PyCMSError, OSError):
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if _SPACES.get(source.profile.xcolor_space.strip()) == image.mode:
                target = ImageCms.createProfile("sRGB")
                converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
                return cast(Image.Image, converted)  # None only with inPlace
    return image if image.mode == "L" else image.convert("RGB")
