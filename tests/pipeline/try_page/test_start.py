"""`./graft try`: the choice of the model server, the settings of a version, and the opening of a browser."""

import contextlib
import json
import os
import socket
import types
import webbrowser

import pytest
from ports import pick_port
from stand_in_server import VERSION, serve_stand_in

from pipeline.console import browser
from pipeline.try_page import start
from schema.errors import GraftError, UsageError


@pytest.fixture(scope="module")
def address():
    with serve_stand_in() as (_, address):
        yield address


@pytest.fixture
def default(address, monkeypatch):
    """The stand-in has the address of `./graft serve`."""
    monkeypatch.setattr(start, "DEFAULT_SERVER", address)


def make_workspace(folder, version, **config):
    extra = folder / f"out/serving/graft/{version}/assets.extra"
    extra.mkdir(parents=True)
    (extra.parent / "saved_model.pb").write_bytes(b"")
    (extra / "graft.json").write_text(json.dumps({"config": {"data": "photos"} | config}))
    return str(folder / "out")


@pytest.fixture
def started(monkeypatch):
    """Model servers that were started: name and folder; the process of each has ended."""
    calls = []

    @contextlib.contextmanager
    def start_server(name, folder, seconds):
        calls.append((name, folder))
        with serve_stand_in() as (_, address):
            process = types.SimpleNamespace(poll=lambda: 9)
            try:
                yield types.SimpleNamespace(
                    rest_address=address, process=process, name="the server", describe_end=lambda: "  its last line"
                )
            finally:
                calls.append("ended")

    monkeypatch.setattr(start.launch, "start_server", start_server)
    return calls


@pytest.fixture
def serve(monkeypatch):
    """Returns a function that types the command, and returns what it prints; it ends as soon as it serves."""

    def run(out="none", url=None, model=None, port=0, opens=False, wait=lambda *_: None):
        lines = []
        monkeypatch.setattr(start, "_wait", wait)
        monkeypatch.setattr(start.stop_signals, "caught", contextlib.nullcontext)
        assert start.try_model(str(out), url, model, port, opens, lines.append) == 0
        return lines

    return run


def test_a_server_that_is_named_is_asked(serve, address, started):
    """Whatever the workspace has."""
    lines = serve(url=address)
    assert lines[0] == f"Model:    graft, version {VERSION}, of the server at {address}"
    assert lines[1].startswith("Page:     http://127.0.0.1:")
    assert (len(lines), started) == (2, [])


def test_a_server_that_is_named_and_gone_is_told(serve, started):
    """None is started in its place."""
    with pytest.raises(GraftError, match=r"does not answer\. Start one with \./graft serve"):
        serve(url=f"http://127.0.0.1:{pick_port()}")
    assert started == []


def test_the_password_of_an_address_is_not_printed(serve, address):
    assert "secret" not in "".join(serve(url=address.replace("//", "//me:secret@")))


def test_grpc_is_no_address_of_rest(serve):
    with pytest.raises(UsageError, match="speaks gRPC"):
        serve(url="grpc://localhost:8500")


@pytest.mark.usefixtures("default")
def test_the_server_of_graft_serve_is_asked_if_it_serves_this_workspace(serve, started, tmp_path):
    """And no second one is started."""
    assert "of the server at" in serve(make_workspace(tmp_path, VERSION))[0]
    assert started == []


@pytest.mark.usefixtures("default")
def test_the_server_of_another_workspace_is_left_alone(serve, started, tmp_path):
    """Its model has the same name, and would answer in place of the user's own."""
    out = make_workspace(tmp_path, 7)
    lines = serve(out)
    assert lines[0] == f"Starting  the built-in server for {out}/serving/graft"
    assert started == [("graft", f"{out}/serving/graft"), "ended"]


@pytest.mark.usefixtures("default")
def test_without_a_workspace_the_server_that_answers_is_asked(serve, started):
    assert "of the server at" in serve()[0]
    assert started == []


def test_without_a_server_one_is_started_and_ended(serve, started, monkeypatch, tmp_path):
    monkeypatch.setattr(start, "DEFAULT_SERVER", f"http://127.0.0.1:{pick_port()}")
    out = make_workspace(tmp_path, 7)
    assert serve(out)[1] == f"Model:    graft, version {VERSION}"
    assert started == [("graft", f"{out}/serving/graft"), "ended"]


def test_without_a_server_and_a_model_both_are_told(serve, monkeypatch, tmp_path):
    monkeypatch.setattr(start, "DEFAULT_SERVER", f"http://127.0.0.1:{pick_port()}")
    with pytest.raises(UsageError, match="no pushed model here"):
        serve(tmp_path)


def test_a_server_of_its_own_that_ends_is_told(serve, started, monkeypatch, tmp_path):
    """With the last lines of its log, and not only on the page."""
    monkeypatch.setattr(start, "DEFAULT_SERVER", f"http://127.0.0.1:{pick_port()}")
    wait = start._wait
    read, write = os.pipe()
    with pytest.raises(GraftError, match=r"the server ended with 9:\n  its last line"):
        serve(make_workspace(tmp_path, 7), wait=lambda _, process: wait(read, process))
    os.close(write)
    os.close(read)
    assert started[-1] == "ended"


def test_a_port_that_is_taken_is_told_before_a_model_is_loaded(serve, started):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match=r"name another --port\."):
            serve(port=taken.getsockname()[1])
    assert started == []


def test_the_page_is_on_the_port_that_is_named(serve, address):
    port = pick_port()
    assert serve(url=address, port=port)[1] == f"Page:     http://127.0.0.1:{port}/ (Ctrl-C ends it)"


def test_settings_are_those_of_the_version_that_answers(tmp_path):
    """An older record, and a version of another workspace, have none."""
    folder = make_workspace(tmp_path, 7, resize="crop", orientation="ignore", window_days=3) + "/serving/graft"
    make_workspace(tmp_path, 8)
    make_workspace(tmp_path, 9, resize=5)
    assert start.read_settings(folder, 7) == {"resize": "crop", "orientation": "ignore"}
    assert [start.read_settings(folder, number) for number in (8, 9, 10)] == [{}, {}, {}]
    assert start.read_settings(None, 7) == {}


@pytest.mark.parametrize("opens", [True, False])
def test_the_browser_is_opened_unless_that_is_not_wanted(serve, address, monkeypatch, opens):
    opened = []
    monkeypatch.setattr(start, "open_address", opened.append)
    lines = serve(url=address, opens=opens)
    assert opened == ([lines[1].split()[1]] if opens else [])


def fail(*_):
    raise webbrowser.Error


@pytest.mark.parametrize(
    ("found", "named", "opened"),
    [
        (fail, "", []),
        (lambda: webbrowser.GenericBrowser("lynx"), "", []),
        (lambda: webbrowser.GenericBrowser("mine"), "mine", ["http://x/"]),
        (lambda: webbrowser.BackgroundBrowser("firefox"), "", ["http://x/"]),
    ],
    ids=["none", "a text browser", "the user's own", "one of a desktop"],
)
def test_a_browser_that_runs_no_scripts_is_not_opened(monkeypatch, found, named, opened):
    """It would take the terminal; where there is none, nothing fails."""
    asked = []
    monkeypatch.setenv("BROWSER", named)
    monkeypatch.setattr(webbrowser, "get", found)
    monkeypatch.setattr(webbrowser, "open", asked.append)
    browser.open_address("http://x/").join(10)
    assert asked == opened
