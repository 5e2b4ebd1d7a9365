"""Addresses of servers: parts, and a form that is safe to print. Imports no TensorFlow."""

import contextlib
import ipaddress
import urllib.parse

from schema.errors import UsageError


def without_password(address: str) -> str:
    """Removes user name and password from an address.

    All text before the last "@" is removed, because a password may hold a slash. The text need not be a valid address.
    """
    user, at, host = address.rpartition("@")
    scheme, separator, _ = user.partition("://")
    return scheme + separator + host if at and separator else host


def split_address(server: str) -> tuple[str, str, int | None, tuple[str, str] | None]:
    """Splits an address into scheme, host, port, and name and password; an IPv6 host keeps its brackets."""
    try:
        url = urllib.parse.urlsplit(server)
        port = url.port
    except ValueError:
        url, port = urllib.parse.urlsplit(""), None
    host = url.hostname or ""
    if url.scheme not in ("grpc", "http", "https") or not host or url.path.strip("/"):
        raise UsageError(
            f"{without_password(server)}: expected the address of a server, such as grpc://localhost:8500 or "
            "http://localhost:8501."
        )
    login = None
    if "@" in url.netloc:
        login = urllib.parse.unquote(url.username or ""), urllib.parse.unquote(url.password or "")
    return url.scheme, f"[{host}]" if ":" in host else host, port, login


def is_this_machine(host: str) -> bool:
    """Tells whether a host name or address is this machine's own, which no proxy reaches."""
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        return address.is_loopback or address.is_unspecified
    return host == "localhost" or host.endswith(".localhost")
