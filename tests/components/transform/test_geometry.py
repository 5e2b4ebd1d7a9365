"""Pixels whose right answer is known: stripes that come out gray, a round circle, an arrow that points up."""

import functools
import io

import numpy as np
import pytest
import tensorflow as tf
from image_files import STORED, draw, save
from PIL import Image, ImageDraw, ImageOps

from components.example_gen.reading import try_to_decode
from components.images.decoding import RATIOS, choose_octave, decode_image, read_header
from components.transform.geometry import resize_image, turn_upright
from components.transform.preprocessing import preprocess_images, to_uint8

SIZE = 32
MODES = ["stretch", "crop", "pad"]


@functools.cache
def trace(resize="stretch", orientation="exif"):
    """Traces the preprocessing; returns a function from files to RGB pixels, uint8 [batch, size, size, 3]."""
    graph = tf.function(
        lambda images: to_uint8(preprocess_images(images, SIZE, 20.0, orientation, resize)),
        input_signature=[tf.TensorSpec([None], tf.string)],
        autograph=False,
    ).get_concrete_function()
    return lambda files: graph(tf.constant(files)).numpy()[..., ::-1]


def draw_arrow(width=60, height=80):
    """An arrow that points up, black on white, with a red left half and a blue right half of its head."""
    image = Image.new("RGB", (width, height), "white")
    pen, middle = ImageDraw.Draw(image), width // 2
    pen.rectangle([middle - width // 10, height // 3, middle + width // 10, height], "black")
    pen.polygon([(middle, 0), (0, height // 2), (middle, height // 2)], "red")
    pen.polygon([(middle, 0), (width, height // 2), (middle, height // 2)], "blue")
    return image


def draw_circle(width, height):
    """A white circle in the middle of black, as large as fits."""
    image, radius = Image.new("RGB", (width, height)), min(width, height) // 2
    ImageDraw.Draw(image).ellipse(
        [width / 2 - radius, height / 2 - radius, width / 2 + radius, height / 2 + radius], "white"
    )
    return image


@pytest.mark.parametrize("kind", [pytest.param("PNG", marks=pytest.mark.long), "JPEG"])
@pytest.mark.parametrize("resize", MODES)
def test_an_arrow_points_up_in_each_orientation(kind, resize):
    """As Pillow turns it; through the whole graph, also where a JPEG is reduced while it is decoded."""
    arrow = draw_arrow(120, 160)
    files = [save(arrow, kind, orientation) for orientation in STORED]
    for file in files:
        assert ImageOps.exif_transpose(Image.open(io.BytesIO(file))).size == (120, 160)
    upright, *turned = trace(resize)(files).astype(int)
    left, right = upright[12, 10], upright[12, 21]
    assert left[0] > 200 > 90 > left[2]
    assert right[2] > 200 > 90 > right[0]
    for pixels in turned:
        assert np.abs(pixels - upright).max() <= (24 if kind == "JPEG" else 1)
        assert np.abs(pixels - upright).mean() < 2


def test_without_orientation_an_arrow_stays_as_stored():
    """`ignore` gives the pixels of the sensor, and those of the same file without EXIF."""
    arrow = draw_arrow()
    files = [save(arrow, "PNG", 6), save(STORED[6](arrow), "PNG", 1)]
    stored, plain = trace(orientation="ignore")(files)
    np.testing.assert_array_equal(stored, plain)
    assert np.abs(trace()(files[:1])[0].astype(int) - stored).max() > 100


def test_each_orientation_is_the_turn_of_pillow():
    """Of a picture of noise, exactly."""
    noise = Image.fromarray(draw(0, SIZE, SIZE))
    for orientation, store in STORED.items():
        turned = turn_upright(tf.constant(np.asarray(store(noise))), tf.constant(orientation))
        np.testing.assert_array_equal(turned, np.asarray(noise))


@pytest.mark.parametrize("period", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("axis", [0, 1])
def test_stripes_that_are_too_fine_come_out_gray(period, axis):
    """Every second of 2 to 8 rows is white; without antialiasing a 16th of them would be seen."""
    rows = np.where(np.arange(512) % period < period / 2, 255, 0)
    image = Image.fromarray(np.broadcast_to(rows[:, None] if axis == 0 else rows, (512, 512)).astype(np.uint8))
    expected = rows.mean()
    for pixels in trace()([save(image, "PNG"), save(image, "JPEG")]):
        assert np.abs(pixels[2:-2, 2:-2].astype(int) - expected).max() <= 16
        assert pixels.mean() == pytest.approx(expected, abs=3)


@pytest.mark.parametrize(("width", "height"), [(96, 64), (64, 96), (800, 600), (61, 200)])
def test_a_circle_stays_round_where_it_is_cropped_or_padded(width, height):
    """It is as wide as high; cropped it fills the square, padded it is as small as the shorter side says."""
    files = [save(draw_circle(width, height), kind) for kind in ("PNG", "JPEG")]
    share = {"crop": 1, "pad": min(width, height) / max(width, height)}
    for resize, diameter in share.items():
        for pixels in trace(resize)(files):
            light = pixels.astype(float).mean(axis=2) / 255
            assert light[SIZE // 2].sum() == pytest.approx(diameter * SIZE, abs=1)
            assert light[:, SIZE // 2].sum() == pytest.approx(diameter * SIZE, abs=1)
            assert light.sum() == pytest.approx(np.pi / 4 * (diameter * SIZE) ** 2, rel=0.05)
    wide = trace("stretch")(files)[0].astype(float).mean(axis=2) / 255
    ratio = wide[SIZE // 2].sum() / wide[:, SIZE // 2].sum()
    assert ratio == pytest.approx(height / width, rel=0.1)


def test_a_crop_is_the_middle_and_a_pad_the_whole():
    """Three bars, of which the middle one is a square: red, green, blue."""
    bars = np.zeros((40, 120, 3), np.uint8)
    for index in range(3):
        bars[:, index * 40 : (index + 1) * 40, index] = 255
    file = save(Image.fromarray(bars))
    cropped, padded, stretched = (trace(resize)([file])[0] for resize in ("crop", "pad", "stretch"))
    assert (cropped[:, 1:-1] == [0, 255, 0]).all()  # at the edges, the filter reaches beyond
    assert (padded[:10] == 0).all()
    assert (padded[-10:] == 0).all()
    assert (padded[12:20, [2, 16, 29]] == np.eye(3, dtype=np.uint8) * 255).all()
    assert (stretched[:, [2, 16, 29]] == np.eye(3, dtype=np.uint8) * 255).all()


def test_a_stretched_image_is_that_of_tensorflow_and_pillow():
    """Smaller and larger; within 1, for sums in another order are rounded, and Pillow rounds twice."""
    for width, height in ((90, 70), (33, 200), (20, 10), (SIZE, SIZE), (1, 1)):
        image = draw(3, width, height)
        resized = resize_image(tf.constant(image), SIZE).numpy()
        expected = np.round(tf.image.resize(image, [SIZE, SIZE], antialias=True))
        assert np.abs(resized - expected).max() <= 1
        assert np.mean(resized != expected) < 0.01
        pillow = Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        assert np.abs(resized - np.asarray(pillow, float)).max() <= 1


@pytest.mark.parametrize("resize", MODES)
@pytest.mark.parametrize(("width", "height"), [(3000, 1), (1, 3000), (2, 1)])
def test_a_thin_line_is_still_seen(resize, width, height):
    """Padded to a square, it would be thinner than a pixel."""
    pixels = resize_image(tf.fill([height, width, 3], tf.constant(200, tf.uint8)), SIZE, resize).numpy()
    assert pixels.max() == 200
    assert (pixels == 200).all() == (resize != "pad")


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"mode": "L"}, {"mode": "CMYK"}, {"subsampling": 2}])
def test_a_large_jpeg_is_decoded_at_an_eighth_and_looks_the_same(options):
    """Baseline, progressive, gray, CMYK, and of less colour."""
    mode = options.pop("mode", "RGB")
    smooth = Image.fromarray(draw(1, 8, 6)).resize((407, 303), Image.Resampling.BICUBIC).convert(mode)
    file = io.BytesIO()
    smooth.save(file, "JPEG", quality=95, **options)
    header = read_header(tf.constant(file.getvalue()))
    whole = decode_image(header.encoded)
    assert whole.shape == (303, 407, 3)
    for octave, ratio in enumerate(RATIOS):
        reduced = decode_image(header.encoded, tf.constant(octave))
        assert reduced.shape == (-(-303 // ratio), -(-407 // ratio), 3)
        extent = tf.constant([303, 407], tf.float32) / ratio
        difference = resize_image(reduced, SIZE, "stretch", extent) - resize_image(whole, SIZE)
        assert np.abs(difference).max() <= 6


@pytest.mark.parametrize(
    ("size", "needed", "longer", "ratio"),
    [
        ((4032, 3024), 224, False, 8),
        ((1792, 1792), 224, False, 8),
        ((4032, 1791), 224, False, 4),
        ((4032, 300), 224, False, 1),
        ((448, 447), 224, False, 1),
        ((448, 448), 224, False, 2),
        ((4032, 300), 224, True, 8),
        ((1000, 895), 224, True, 4),
        ((100, 100), 224, True, 1),
    ],
)
def test_no_side_that_counts_falls_below_what_is_needed(size, needed, longer, ratio):
    """The shorter side, and where the image is padded the longer one; only of a JPEG."""
    jpeg, png = (read_header(tf.constant(save(Image.new("L", (9, 9)), kind))) for kind in ("JPEG", "PNG"))
    sizes = tf.constant(size, tf.int64)
    assert RATIOS[int(choose_octave(jpeg._replace(size=sizes), needed, longer))] == ratio
    assert int(choose_octave(png._replace(size=sizes), needed, longer)) == 0


def corrupt(content, random):
    """Changes bytes of a JPEG behind its header, or cuts it off."""
    content = bytearray(content)
    for _ in range(random.integers(1, 4)):
        content[int(random.integers(len(content) // 3, len(content)))] = random.choice([0, 0xFF, 0xD9, 0xDA, 0xC4, 77])
    return bytes(content[: int(random.integers(len(content) // 2, 2 * len(content)))])


def test_a_damaged_jpeg_is_decoded_at_each_ratio_or_at_none():
    """So ingest, which needs other pixels than the network, leaves out the images that serving rejects."""
    decode = tf.function(
        lambda image, octave: tf.shape(decode_image(image, octave)),
        input_signature=[tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.int32)],
        autograph=False,
    ).get_concrete_function()

    def is_read(content, octave):
        try:
            decode(tf.constant(content), tf.constant(octave))
        except tf.errors.InvalidArgumentError:
            return False
        return True

    random, noise, read = np.random.default_rng(0), Image.fromarray(draw(0, 64, 48)), 0
    originals = [save(noise, "JPEG", progressive=progressive) for progressive in (False, True)]
    for index in range(120):
        content = corrupt(originals[index % 2], random)
        answers = {is_read(content, octave) for octave in range(len(RATIOS))}
        assert len(answers) == 1, content.hex()
        read += True in answers
    assert 20 < read < 100


def mutate(content, random):
    """Changes, inserts and removes bytes of the EXIF block of a JPEG or a PNG."""
    content = bytearray(content)
    begin = content.index(b"Exif\0\0") - 4 if b"Exif\0\0" in content else content.index(b"eXIf") - 4
    for _ in range(random.integers(1, 3)):
        at = begin + int(random.integers(90))
        match random.integers(4):
            case 0 | 1:
                content[at] = random.choice([0, 1, 2, 3, 4, 6, 7, 8, 9, 0x12, 0x2A, 0x49, 0x4D, 0xE1, 255])
            case 2:
                content[at:at] = bytes(random.integers(0, 256, random.integers(1, 7), np.uint8).tolist())
            case 3:
                del content[at : at + int(random.integers(1, 5))]
    return bytes(content)


@pytest.mark.parametrize("number", [200, pytest.param(2000, marks=pytest.mark.long)])
def test_mutated_exif_is_understood_alike_by_ingest_and_by_the_graph(number):
    """Both refuse a file, or both read it and turn it by the same orientation, which the pixels show."""
    random, arrow = np.random.default_rng(number), draw_arrow(16, 16)
    looks = [np.asarray(store(arrow), int) for store in STORED.values()]
    originals = [save(arrow, kind, orientation) for orientation in (1, 3, 6, 8) for kind in ("JPEG", "PNG")]
    graph, turned, refused = trace(), 0, 0
    for index in range(number):
        stored = index % 8 // 2
        content = mutate(originals[index % 8], random)
        try:
            width, height, _, found = try_to_decode(content, 20.0)
            is_read = width * height <= 20e6
        except ValueError:
            is_read = False
        if not is_read:
            with pytest.raises(tf.errors.InvalidArgumentError):
                graph([content])
            refused += 1
            continue
        pixels = graph([content])[0][::2, ::2].astype(int)
        undone = STORED[found](Image.fromarray(pixels.astype(np.uint8)))
        distances = [np.abs(look - np.asarray(undone, int)).mean() for look in looks]
        assert int(np.argmin(distances)) == [1, 3, 6, 8][stored] - 1, (found, content.hex())
        turned += found > 1
    assert turned > number / 8
    assert 0 < refused < 0.7 * number
