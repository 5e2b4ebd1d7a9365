"""Formats of image files, told apart by their first bytes; without TensorFlow, which takes seconds to import."""

# Formats that tf.io.decode_image reads on either stack, by the first bytes of the file. A newer TensorFlow reads WebP,
# too: ingest rejects WebP on both stacks, so that a model can be served wherever it was trained.
JPEG, PNG, GIF, BMP = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM"
READABLE = {JPEG: "JPEG", PNG: "PNG", GIF: "GIF", BMP: "BMP"}

# Codes of the JPEG frame headers, which hold the size (ITU-T T.81, table B.1); C4, C8 and CC mark other segments.
JPEG_FRAMES = sorted({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})

# EXIF (2.32, 4.6.2 to 4.6.4 and 4.7.2): first bytes of its segment in a JPEG; tag of the orientation, type of a 16-bit
# number, and bytes of an entry: tag, type, number of values, value.
EXIF, EXIF_ORIENTATION, EXIF_SHORT, EXIF_ENTRY = b"Exif\0\0", 0x0112, 3, 12
UPRIGHT, TRANSPOSED = 1, (5, 6, 7, 8)  # orientation of an upright image; orientations that swap width and height
MAX_CHUNKS = 32  # chunks of a PNG to look for EXIF in; photographs have fewer than 10 before their pixels

# Formats that `./graft convert` turns into JPEG, as `name_format` calls them.
CONVERTIBLE = ("HEIC", "WebP", "TIFF", "AVIF", "JPEG 2000", "Netpbm")

# Suffixes of browsers for unfinished downloads. Such a file may grow while it is read.
UNFINISHED = (".crdownload", ".part", ".partial", ".tmp", ".download")

# Image formats of ISO base media files by brand. All other brands count as video.
_BRANDS = dict.fromkeys([b"avif", b"avis"], "AVIF") | dict.fromkeys(
    [b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"], "HEIC"
)
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the latter two are BigTIFF, for files above 4 GB
_JPEG_2000 = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")  # in boxes, or the bare codestream
_NETPBM = tuple(b"P%d" % number for number in range(1, 7))


def name_format(encoded: bytes) -> str:
    """Names the format of a file by its first bytes.

    Args:
        encoded: the file, or its first 64 bytes.
    Returns:
        A name such as "JPEG" or "HEIC"; for other files a description, such as "video, not an image".
    """
    for magic, name in READABLE.items():
        if encoded.startswith(magic):
            return name
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        return "WebP"
    if encoded.startswith(_TIFF):
        return "TIFF"
    if encoded.startswith(_JPEG_2000):
        return "JPEG 2000"
    if encoded[:2] == b"\xff\x0a" or encoded[4:8] == b"JXL ":
        return "JPEG XL"
    if encoded[4:8] == b"ftyp":
        return _name_brand(encoded)
    if encoded.startswith(_NETPBM) and encoded[2:3].isspace():
        return "Netpbm"
    if encoded.lstrip()[:5].lower() in (b"<?xml", b"<svg ", b"<html", b"<!doc"):
        return "markup, not an image"
    return "not an image"


def _name_brand(encoded: bytes) -> str:
    """Names the format of an ISO base media file by its brand; for mif1 and msf1 by the compatible brands."""
    compatible = encoded[16 : min(64, int.from_bytes(encoded[:4], "big"))]
    if encoded[8:12] in (b"mif1", b"msf1") and b"avif" in compatible:
        return "AVIF"
    return _BRANDS.get(encoded[8:12], "video, not an image")
