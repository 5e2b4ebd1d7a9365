"""Passwords in addresses: sent to the server that they are for, printed nowhere."""

import http.server
import threading

import pytest

from schema.errors import UsageError
from serving.client.addresses import without_password
from serving.client.client import ServerError, connect


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://a.example:8501", "http://a.example:8501"),
        ("http://user:secret@a.example:8501/x", "http://a.example:8501/x"),
        ("http://user:sec/ret@a.example", "http://a.example"),
        ("http://user:sec@ret@[::1]:1", "http://[::1]:1"),
        ("user:secret@a.example:8500", "a.example:8500"),
        ("a.example", "a.example"),
    ],
)
def test_an_address_is_shown_without_its_password(address, shown):
    """Also if the address is invalid."""
    assert without_password(address) == shown


@pytest.mark.parametrize(
    "address",
    [
        "grpc://user:secret@localhost:8500",
        "user:secret@localhost:8500",
        "http://user:secret@localhost:no",
        "http://user:secret@localhost/v1",
        "ftp://user:secret@localhost",
    ],
)
def test_an_address_that_is_refused_is_told_without_its_password(address):
    """By gRPC there is no basic authentication; the other texts are no addresses."""
    with pytest.raises(UsageError) as caught:
        connect(address)
    assert "secret" not in str(caught.value)
    assert "localhost" in str(caught.value)


def test_a_password_is_sent_as_curl_sends_it_and_is_in_no_error():
    """Basic authentication in UTF-8, with the escapes of the address undone."""
    heads = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            heads.append(self.headers["Authorization"])
            self.send_response(401)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args):
            """Logs nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with (
            connect(f"http://Aladdin:open%20s%C3%A9same@127.0.0.1:{server.server_port}") as client,
            pytest.raises(ServerError) as caught,
        ):
            client.metadata()
        server.shutdown()
    assert heads == ["Basic QWxhZGRpbjpvcGVuIHPDqXNhbWU="]  # printf 'Aladdin:open sésame' | base64
    assert "same" not in str(caught.value)
