"""Connections to a server: proxies, certificates, and ports of another protocol."""

import contextlib
import http.server
import json
import ssl
import subprocess
import threading
from concurrent import futures

import grpc
import pytest

from serving.client.client import ServerError, connect

STATUS = {"model_version_status": [{"version": "1", "state": "AVAILABLE"}]}
VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
PROXIES = [f"{scheme}_{name}" for scheme in ("http", "https", "no", "all", "grpc", "no_grpc") for name in ("proxy",)]


class Handler(http.server.BaseHTTPRequestHandler):
    """Handler that answers each request with a version's state, also as a proxy, and records the path."""

    def do_GET(self):
        self.server.asked.append(self.path)
        body = json.dumps(STATUS).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        """Logs nothing."""


@contextlib.contextmanager
def serve(certificate=None):
    """Yields a local HTTP server; with a certificate (file with its key) the server uses TLS."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def fail(address, message):
    """Sends a request and expects an error with this message."""
    with connect(address) as client, pytest.raises(ServerError, match=message):
        client.metadata()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Returns a file with a key and a self-signed certificate for 127.0.0.1."""
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=graft"
    command = [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", file, "-out", f"{file}.crt"]
    subprocess.run(command, check=True, capture_output=True)
    file.write_text(file.read_text() + file.with_name("server.pem.crt").read_text())
    return file


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    """Removes proxies and certificates of this machine from the environment."""
    for name in (*VARIABLES, *PROXIES):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    "variable", [VARIABLES[0], *(pytest.param(name, marks=pytest.mark.long) for name in VARIABLES[1:3])]
)
def test_a_private_authority_is_named_in_the_environment(certificate, monkeypatch, variable):
    """Variables of curl and `requests`; without them the certificate is refused, with advice."""
    with serve(certificate) as server:
        address = f"https://127.0.0.1:{server.server_port}"
        with (
            connect(address) as client,
            pytest.raises(ServerError, match=r"certificate is .*REQUESTS_CA_BUNDLE"),
        ):
            client.metadata()
        monkeypatch.setenv(variable, str(certificate))
        with connect(address) as client:
            assert client.metadata() == STATUS


def test_a_file_of_authorities_that_is_not_there_is_named(certificate, monkeypatch):
    """No traceback."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/gone.pem")
    with serve(certificate) as server:
        fail(f"https://127.0.0.1:{server.server_port}", r"cannot be reached: .*/gone\.pem")


def test_proxies_are_for_other_machines(monkeypatch):
    """A server of this machine is asked directly, any other through the proxy, but for those of NO_PROXY."""
    with serve() as proxy, serve() as server:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.server_port}")
        for host in ("127.0.0.1", "localhost"):
            with connect(f"http://{host}:{server.server_port}") as client:
                client.metadata()
        assert (len(server.asked), proxy.asked) == (2, [])
        with connect("http://model.example:8501") as client:
            client.metadata()
        assert proxy.asked == ["http://model.example:8501/v1/models/graft/metadata"]
        monkeypatch.setenv("no_proxy", "model.invalid")
        with connect("http://model.invalid:8501") as client, pytest.raises(ServerError, match="cannot be reached"):
            client.metadata()
    assert len(proxy.asked) == 1


@pytest.fixture
def grpc_port():
    """Yields a port of a gRPC server without methods."""
    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None)


def test_grpc_to_this_machine_takes_no_proxy(grpc_port, monkeypatch):
    """By default, gRPC reads the variable itself."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with connect(f"grpc://127.0.0.1:{grpc_port}") as client, pytest.raises(ServerError, match="UNIMPLEMENTED"):
        client.metadata()


def test_a_port_of_grpc_that_is_asked_by_http_is_called_so(grpc_port):
    """The error does not print the bytes of HTTP/2."""
    fail(f"http://127.0.0.1:{grpc_port}", f"not speak HTTP; write grpc://127.0.0.1:{grpc_port} ")


def test_a_port_without_tls_that_is_asked_by_https_is_called_so():
    """The version number that OpenSSL finds wrong is that of no TLS at all."""
    with serve() as server:
        fail(
            f"https://127.0.0.1:{server.server_port}", f"not speak TLS .* write http://127.0.0.1:{server.server_port} "
        )


def test_a_port_of_rest_that_is_asked_by_grpc_is_called_so():
    """The error does not print the frames of HTTP/2."""
    with serve() as server:
        fail(f"grpc://127.0.0.1:{server.server_port}", f"not speak gRPC; write http://127.0.0.1:{server.server_port} ")
