"""The page of `./graft try` in headless Chromium, with real drops.

One test is from the command line to the answers of the built-in server. The others are `long`, with a stand-in for the
model server; they are skipped where Chromium, or npm for axe-core, is not installed.
"""

import json
import os
import pathlib
import re
import signal
import subprocess

import pytest
import tensorflow as tf
from axe import fetch_axe
from chromium import CHROMIUM, browse
from image_files import encode
from PIL import Image
from stand_in_server import ANSWER, make_metadata, serve_stand_in

from pipeline.downloads.browser import find_program
from pipeline.try_page.app import create_app
from pipeline.try_page.model_server import ModelServer
from serving.client import launch
from serving.server.http_server import serve_http

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")]
long = pytest.mark.long

ROOT = pathlib.Path(__file__).parents[3]
COLOURS = ["red", "green", "blue", "cyan", "magenta", "yellow", "black"]
ANSWERED = "document.querySelectorAll('.card.answered, .card.none, .card.wrong').length"
CARDS = "[...document.querySelectorAll('.card')].map(card => card.innerText.split('\\n').filter(line => line.trim()))"


class Colours(tf.Module):
    """Model of the mean colour, with the signatures of Graft's; the heat map is the brightness."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def serve(self, image_bytes):
        def average(image):
            pixels = tf.image.decode_image(image, channels=3, expand_animations=False)
            mean = tf.reduce_mean(tf.cast(pixels, tf.float32), axis=[0, 1])
            return tf.concat([mean, tf.zeros([len(COLOURS) - 3])], axis=0)

        means = tf.map_fn(average, image_bytes, fn_output_signature=tf.float32)
        probabilities = means / tf.reduce_sum(means, axis=1, keepdims=True)
        classes = tf.tile(tf.constant(COLOURS)[tf.newaxis], [tf.shape(means)[0], 1])
        return {
            "probabilities": probabilities,
            "classes": classes,
            "label": tf.gather(COLOURS, tf.argmax(means, axis=1)),
            "accepted": tf.reduce_max(probabilities, axis=1) > 0.5,
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def explain(self, image_bytes):
        def shrink(image):
            pixels = tf.image.decode_image(image, channels=1, expand_animations=False)
            return tf.image.resize(pixels, [2, 2])[:, :, 0] / 255

        return {"heatmap": tf.map_fn(shrink, image_bytes, fn_output_signature=tf.float32)}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    out = tmp_path_factory.mktemp("workspace") / "out"
    version, model = out / "serving/colours/7", Colours()
    tf.saved_model.save(model, str(version), signatures={"serving_default": model.serve, "explain": model.explain})
    (version / "assets.extra").mkdir()
    (version / "assets.extra/graft.json").write_text('{"config": {"data": "photos", "resize": "crop"}}')
    return out


@pytest.fixture
def files(tmp_path):
    """A red JPEG, twice as wide as high; a small gray PNG; a text."""
    Image.new("RGB", (400, 200), (250, 20, 10)).save(tmp_path / "red one.jpg")
    Image.new("L", (8, 8), 128).save(tmp_path / "gray.png")
    (tmp_path / "notes.txt").write_text("no picture")
    return [tmp_path / name for name in ("red one.jpg", "gray.png", "notes.txt")]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Yields the tab of a browser, for all tests."""
    with browse(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def fresh(page):
    """Yields the tab without the notes of the tests before."""
    page.messages.clear()
    page.requested.clear()
    return page


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    if not find_program("npm"):
        pytest.skip("npm is not installed")
    return fetch_axe(tmp_path_factory.mktemp("axe"))


@pytest.fixture
def served():
    """Yields a stand-in for the model server, and the address of the page."""
    with serve_stand_in() as (stand_in, address):
        app = create_app(ModelServer(address, "graft"), lambda _: {"resize": "crop", "orientation": "exif"})
        with serve_http(app, "127.0.0.1", 0, 20.0, 1) as port:
            yield stand_in, f"http://127.0.0.1:{port}/"


def test_dropped_pictures_are_answered_by_a_real_server(warm_python, workspace, fresh, files):
    """A photograph, a drawing and a text, from the command line to the answers; Ctrl-C ends both servers."""
    command = [warm_python.small_base, ROOT, "try", "--out", workspace, "--no-browser"]
    process = subprocess.Popen(
        command, env=os.environ | {"PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        while not (line := process.stdout.readline()).startswith("Page:"):
            assert process.poll() is None, process.communicate()[1]
        address = line.split()[1]
        fresh.open(address)
        fresh.drop("#drop", *files)
        fresh.wait_for(f"{ANSWERED} == 3 && document.querySelectorAll('canvas').length == 2")
        red, gray, text = fresh.evaluate(CARDS)
        assert [red[i] for i in (0, 1, 3, 5)] == ["red", "red", "green", "blue"]
        assert 85 < float(red[2].removesuffix(" %")) < 93
        assert red[-2:] == ["2 more classes", "red one.jpg"]
        assert gray[:3] == ["None of these", "The nearest is red.", "red"]
        assert text == [
            "No preview", "This is no picture that the model reads", "The model reads JPEG, PNG, GIF and BMP.",
            "notes.txt",
        ]  # fmt: skip
        assert [message for message in fresh.messages if "400 (Bad Request)" not in message] == []
        # The network sees the middle square: the margins are gray, the middle is the colour of a heat of 0.3.
        left, middle = fresh.evaluate(
            "(c => [[4, 80], [160, 80]].map(([x, y]) => [...c.getContext('2d').getImageData(x, y, 1, 1).data]))"
            "(document.querySelector('.answered canvas'))"
        )
        assert left == [127, 127, 127, 255]
        assert middle[0] > middle[1] + 50
        assert all(url.startswith((address, "blob:", "data:")) for url in fresh.requested)
        told = fresh.evaluate("document.getElementById('model').textContent")
        port = int(re.fullmatch(r"Model colours, version 7, of the server at http://127\.0\.0\.1:(\d+)", told)[1])
        process.send_signal(signal.SIGINT)
        said, complaint = process.communicate(timeout=120)
        assert (process.returncode, said, complaint) == (0, "", "")
        with pytest.raises(OSError, match="refused"):
            launch.socket.create_connection(("127.0.0.1", port), timeout=5)
    finally:
        launch.stop(process)


@long
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(("width", "phone"), [(1280, False), (400, True)], ids=["desk", "phone"])
def test_axe_finds_nothing_and_a_phone_does_not_scroll_sideways(axe, fresh, served, files, width, phone, dark):
    """Empty, with answers of all kinds, and with trouble."""
    stand_in, address = served
    stand_in.answers["/metadata"] = (200, make_metadata(explains=True))
    stand_in.answers["explain"] = (200, {"predictions": [[[0.0, 1.0], [0.5, 0.2]]]})
    names = [f"{'a_long_name_without_a_break' * 3}{i}" for i in range(9)]
    many = {"label": names[0], "classes": names, "probabilities": [0.9, *[0.0125] * 8], "accepted": True}
    fresh.open(address, width, 800, dark, phone)
    fresh.wait_for("document.getElementById('model').textContent.includes('version')")
    check(axe, fresh)
    for content in ({"predictions": [many]}, {"predictions": [ANSWER | {"accepted": False}]}):
        stand_in.answers[":predict"] = (200, content)
        fresh.drop("#drop", files[0])
        fresh.wait_for(f"{ANSWERED} == document.querySelectorAll('.card').length && {ANSWERED} > 0")
    stand_in.answers[":predict"] = (400, {"error": "Unknown image file format"})
    fresh.drop("#drop", files[2])
    fresh.wait_for(f"{ANSWERED} == 3")
    check(axe, fresh)
    stand_in.answers["/metadata"] = stand_in.answers[":predict"] = (404, {"error": "Servable not found"})
    fresh.drop("#drop", files[1])
    fresh.wait_for("!document.getElementById('trouble').hidden")
    check(axe, fresh)


def check(axe, page):
    found = page.evaluate(f"{axe}; axe.run(document).then(found => JSON.stringify(found.violations))")
    violations = [(v["impact"], v["id"], [n["html"][:200] for n in v["nodes"]]) for v in json.loads(found)]
    assert [violation for violation in violations if violation[0] != "minor"] == []
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0


@long
def test_the_keyboard_alone_is_enough(fresh, served, files):
    """Each control is reached by Tab, and shows that it is; pictures are chosen, the heat map hidden, all cleared."""
    stand_in, address = served
    stand_in.answers["/metadata"] = (200, make_metadata(explains=True))
    stand_in.answers["explain"] = (200, {"predictions": [[[0.0, 1.0], [0.5, 0.2]]]})
    fresh.open(address)
    node = fresh.call("DOM.querySelector", nodeId=fresh.call("DOM.getDocument")["root"]["nodeId"], selector="#choose")
    fresh.call("DOM.setFileInputFiles", nodeId=node["nodeId"], files=[str(file) for file in files[:2]])
    fresh.wait_for(f"{ANSWERED} == 2 && document.querySelectorAll('canvas').length == 2")
    reached = []
    while "heat-strength" not in reached and len(reached) < 9:
        fresh.press("Tab", 9)
        reached.append(fresh.evaluate("document.activeElement.id || document.activeElement.className"))
        seen = "getComputedStyle(document.activeElement.closest('.button') ?? document.activeElement).outlineStyle"
        assert fresh.evaluate(seen) != "none", reached
        if reached[-1] == "heat-on":
            fresh.press(" ", 32, " ")
            assert fresh.evaluate("[...document.querySelectorAll('canvas')].map(c => c.style.opacity)") == ["0", "0"]
    assert reached == ["skip", "choose", "clear", "heat-on", "heat-strength"]
    fresh.evaluate("document.getElementById('clear').focus()")
    fresh.press("Enter", 13, "\r")
    assert fresh.evaluate("[document.querySelectorAll('.card').length, document.activeElement.id]") == [0, "choose"]


@long
@pytest.mark.parametrize(("side", "said"), [(2, "A heat map has 2 x 2 cells here, so it is coarse"), (7, "")])
def test_a_coarse_heat_map_is_called_so(fresh, served, files, side, said):
    """Behind the sentence on what the network sees; a finer one is not."""
    stand_in, address = served
    stand_in.answers["/metadata"] = (200, make_metadata(explains=True))
    stand_in.answers["explain"] = (200, {"predictions": [[[0.5] * side] * side]})
    fresh.open(address)
    fresh.drop("#drop", files[0])
    fresh.wait_for("document.querySelectorAll('canvas').length == 1")
    note = fresh.evaluate("document.getElementById('heat-note').textContent")
    assert note.startswith(f"The network sees the middle square; what is cut off is gray. {said}")
    assert ("coarse" in note) is bool(said)


def test_answers_are_told_to_a_screen_reader(fresh, served, files):
    """One by one if they are few."""
    _, address = served
    fresh.open(address)
    fresh.drop("#drop", files[0])
    fresh.wait_for(f"{ANSWERED} == 1")
    said = "document.querySelector('[role=status][aria-live=polite]').textContent"
    assert fresh.evaluate(said) == "red one.jpg: cat, 75.0 %"


@long
def test_a_pasted_picture_is_answered_and_a_pasted_text_is_none(fresh, served):
    _, address = served
    fresh.open(address)
    paste = "dispatchEvent(new ClipboardEvent('paste', {clipboardData: Object.assign(new DataTransfer(), {})}))"
    fresh.evaluate(paste)
    assert fresh.evaluate("document.getElementById('notice').textContent") == "The clipboard holds no picture."
    fresh.evaluate(
        "(t => { t.items.add(new File(['x'], 'image.png', {type: 'image/png'}));"
        "dispatchEvent(new ClipboardEvent('paste', {clipboardData: t})) })(new DataTransfer())"
    )
    fresh.wait_for(f"{ANSWERED} == 1")
    assert fresh.evaluate("document.getElementById('notice').hidden")


@long
def test_pictures_wait_while_the_server_is_gone(fresh, served, files):
    """What is wrong is said; when it answers again, they are answered."""
    stand_in, address = served
    fresh.open(address)
    fresh.wait_for("document.getElementById('model').textContent.includes('version')")
    answers = dict(stand_in.answers)
    stand_in.answers["/metadata"] = stand_in.answers[":predict"] = (404, {"error": "Servable not found"})
    fresh.drop("#drop", *files[:2])
    fresh.wait_for("document.getElementById('trouble').innerText.includes('2 pictures will be asked')")
    assert "has no model graft" in fresh.evaluate("document.getElementById('trouble').innerText")
    stand_in.answers = answers
    fresh.wait_for(f"{ANSWERED} == 2")
    assert fresh.evaluate("document.getElementById('trouble').hidden")


@long
def test_a_page_without_its_server_says_so(fresh, files):
    with serve_stand_in() as (_, upstream):
        app = create_app(ModelServer(upstream, "graft"), lambda _: {})
        with serve_http(app, "127.0.0.1", 0, 20.0, 1) as port:
            fresh.open(f"http://127.0.0.1:{port}/")
            fresh.wait_for("document.getElementById('model').textContent.includes('version')")
    fresh.drop("#drop", files[0])
    fresh.wait_for("document.getElementById('trouble').innerText.includes('./graft try has ended')")


@long
def test_a_busy_server_is_asked_again(fresh, served, files):
    """And after four tries the picture says so, with a button to try again."""
    stand_in, address = served
    stand_in.answers[":predict"] = (503, {"error": "busy"})
    fresh.open(address)
    fresh.drop("#drop", files[0])
    fresh.wait_for("document.querySelector('.wrong button')")
    assert len([path for _, path, _, _ in stand_in.asked if path.endswith(":predict")]) == 4
    stand_in.answers[":predict"] = (200, {"predictions": [ANSWER]})
    fresh.evaluate("document.querySelector('.wrong button').click()")
    fresh.wait_for("document.querySelector('.answered')")


@long
def test_failures_of_one_picture_are_told_on_its_card(fresh, served, tmp_path):
    """Too large, empty, damaged, of another format, and an answer that is none; the next picture is answered."""
    stand_in, address = served
    (tmp_path / "large.jpg").write_bytes(encode())
    os.truncate(tmp_path / "large.jpg", 40_000_000)
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "photo.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    fresh.open(address)
    stand_in.answers[":predict"] = (400, {"error": "Unknown image file format"})
    fresh.drop("#drop", *(tmp_path / name for name in ("large.jpg", "empty.jpg", "photo.HEIC")))
    fresh.wait_for(f"{ANSWERED} == 3")
    large, empty, heic = (" ".join(card) for card in fresh.evaluate(CARDS))
    assert "This picture is too large It has 40 MB: larger than the 25 MB" in large
    assert "This file is empty" in empty
    assert "The model does not read HEIC, the format of iPhones" in heic
    assert "./graft convert" in heic
    stand_in.answers[":predict"] = (200, {"predictions": [[1.0]]})
    fresh.drop("#drop", tmp_path / "photo.HEIC")
    fresh.wait_for(f"{ANSWERED} == 4")
    assert "The answer has no label, classes and probabilities." in " ".join(fresh.evaluate(CARDS)[0])


@long
def test_cards_stand_in_the_order_of_the_drop(fresh, served, files):
    """Also where the page, of which the server is not heard of yet, hears of the second picture first."""
    _, address = served
    slow = (
        "{ const ask = window.fetch; let asked = 0; window.fetch = async (...given) => {"
        "if (given[0] === 'model' && (asked += 1) < 3) await new Promise(wake => setTimeout(wake, 1000));"
        "return ask(...given) } }"
    )
    script = fresh.call("Page.addScriptToEvaluateOnNewDocument", source=slow)
    try:
        fresh.open(address)
        fresh.drop("#drop", *files)
        fresh.wait_for(f"{ANSWERED} == 3")
    finally:
        fresh.call("Page.removeScriptToEvaluateOnNewDocument", **script)
    assert [card[-1] for card in fresh.evaluate(CARDS)] == [file.name for file in files]


@long
def test_a_model_that_takes_no_images_is_told(fresh, served, files):
    stand_in, address = served
    metadata = make_metadata()
    metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"] = {"x": {"dtype": "DT_FLOAT"}}
    stand_in.answers["/metadata"] = (200, metadata)
    fresh.open(address)
    fresh.wait_for("document.getElementById('trouble').innerText.includes('takes x (DT_FLOAT)')")
    fresh.drop("#drop", files[0])
    fresh.wait_for(f"{ANSWERED} == 1")
    assert [path for _, path, _, _ in stand_in.asked if path.endswith(":predict")] == []


@long
def test_hundreds_of_files_do_not_freeze_it(fresh, served, tmp_path):
    """A folder of 1,100, of which 1,000 are taken: two are asked at a time; Stop, Go on and Clear work meanwhile."""
    stand_in, address = served
    folder = tmp_path / "photos" / "inside"
    folder.mkdir(parents=True)
    picture = encode()
    for number in range(1100):
        (folder / f"{number}.jpg").write_bytes(picture)
    fresh.open(address)
    fresh.wait_for("document.getElementById('model').textContent.includes('version')")
    fresh.evaluate(
        "window.longest = 0; window.last = performance.now();"
        "setInterval(() => { const now = performance.now(); longest = Math.max(longest, now - last); last = now }, 10)"
    )
    stand_in.held.clear()
    fresh.drop("#drop", folder.parent)
    fresh.wait_for("document.getElementById('notice').textContent.includes('1,000 pictures at the most')")
    fresh.wait_for("document.querySelectorAll('.card').length == 2")
    assert len([path for _, path, _, _ in stand_in.asked if path.endswith(":predict")]) <= 2
    stand_in.held.set()
    fresh.wait_for(f"{ANSWERED} > 50")
    fresh.evaluate("document.getElementById('stop').click()")
    fresh.wait_for("document.querySelectorAll('.card.asked').length == 0")
    stopped = fresh.evaluate(ANSWERED)
    assert stopped < 900
    fresh.evaluate("new Promise(resolve => setTimeout(resolve, 300))")
    assert fresh.evaluate(ANSWERED) == stopped
    fresh.evaluate("document.getElementById('stop').click()")
    fresh.wait_for(f"{ANSWERED} == 1000")
    assert fresh.evaluate("longest") < 1000
    fresh.evaluate("document.getElementById('clear').click()")
    assert fresh.evaluate("document.querySelectorAll('.card').length") == 0


@long
@pytest.mark.parametrize(
    ("resize", "square"), [("stretch", [0, 0, 400, 200]), ("crop", [100, 0, 200, 200]), ("pad", [0, -100, 400, 400])]
)
def test_the_heat_map_lies_where_the_network_sees(fresh, served, resize, square):
    _, address = served
    fresh.open(address)
    assert fresh.evaluate(f"import('/heat.js').then(heat => heat.findSquare(400, 200, {resize!r}))") == square
