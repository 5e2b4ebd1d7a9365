"""Downloads from a local server that is good, bad or silent."""

import hashlib
import http.server
import socket
import threading
import urllib.request

import pytest

from pipeline.downloads import download
from pipeline.downloads.download import FetchError, fetch

CONTENTS = b"0123456789" * 10_000
MD5 = hashlib.md5(CONTENTS).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENTS under any path; "/torn" ends too early, "/stalled" stops halfway and waits."""

    def do_HEAD(self):
        self.send_response(404 if "missing" in self.path else 200)
        self.send_header("Content-Length", str(len(CONTENTS)))
        self.end_headers()

    def do_GET(self):
        self.server.asked.append(self.path)
        self.do_HEAD()
        whole = "torn" not in self.path and "stalled" not in self.path
        self.wfile.write(CONTENTS if whole else CONTENTS[: len(CONTENTS) // 2])
        if "stalled" in self.path:
            self.server.over.wait(20)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    """A server that notes what it was asked for."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.asked, running.over = [], threading.Event()
        running.url = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.over.set()
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, and no proxy; returns the folder."""
    monkeypatch.setattr(urllib.request, "_opener", None)  # it remembers the proxies of the first request
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "CACHE", tmp_path / "cache")
    return tmp_path / "cache" / "things"


def list_files(folder):
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def test_file_is_fetched_once(server, cache):
    """The second time it comes from the cache."""
    for _ in range(2):
        path = fetch(f"{server.url}/file", "my.zip", "things", MD5)
        assert (path, path.read_bytes()) == (cache / "my.zip", CONTENTS)
    assert server.asked == ["/file"]
    assert list_files(cache) == ["my.zip"]


def test_cached_file_of_another_md5_is_fetched_anew(server, cache):
    """A torn one that something else left."""
    cache.mkdir(parents=True)
    (cache / "my.zip").write_bytes(CONTENTS[:10])
    assert fetch(f"{server.url}/file", "my.zip", "things", MD5).read_bytes() == CONTENTS


def test_what_comes_with_another_md5_is_refused_and_not_kept(server, cache):
    """The contents may be a login page of the network."""
    with pytest.raises(FetchError, match="another MD5"):
        fetch(f"{server.url}/file", "my.zip", "things", "0" * 32)
    assert list_files(cache) == []


@pytest.mark.parametrize(("name", "reason"), [("torn", "incomplete"), ("stalled", "timed out")])
def test_download_that_breaks_off_or_stalls_leaves_nothing(server, cache, monkeypatch, name, reason):
    """Neither a wait without end nor half a file under the name of the whole; with no checksum, either."""
    monkeypatch.setattr(download, "_STALL_SECONDS", 0.3)
    with pytest.raises(FetchError, match=reason):
        fetch(f"{server.url}/{name}", "my.zip", "things")
    assert server.asked == [f"/{name}"]
    assert list_files(cache) == []
    assert socket.getdefaulttimeout() is None


def test_missing_file_is_said_to_be_missing(server):
    """In the server's own words."""
    with pytest.raises(FetchError, match="404"):
        fetch(f"{server.url}/missing", "my.zip", "things")
    assert server.asked == []


def test_refused_connection_is_the_reason():
    """The discard port, where nobody listens."""
    with pytest.raises(FetchError, match="refused"):
        fetch("http://127.0.0.1:9/file", "my.zip", "things")


def test_network_that_swallows_packets_does_not_hang(monkeypatch):
    """A server that accepts and never answers is given up."""
    monkeypatch.setattr(download, "_ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(FetchError, match="does not answer"):
        fetch(f"http://127.0.0.1:{server.getsockname()[1]}/file", "my.zip", "things")


def test_a_proxy_is_asked_where_one_is_set(server, monkeypatch):
    """For a host that only the proxy can reach."""
    monkeypatch.setenv("http_proxy", server.url)
    assert fetch("http://graft.invalid/file", "my.zip", "things", MD5).read_bytes() == CONTENTS
    assert server.asked == ["http://graft.invalid/file"]
