"""Checks ports before a model is loaded for them, which takes many seconds, and says who reaches them."""

import ipaddress
import socket

from schema.errors import UsageError


def check_free(host: str, port: int, option: str) -> None:
    """Refuses a port that cannot be listened on.

    Args:
        host: the address to listen on.
        port: the port; 0 for none is never refused.
        option: the name of the port's option, for the message.
    Raises:
        UsageError: if another process listens there, or this one may not.
    """
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind((host, port))
    except OSError as error:
        raise UsageError(
            f"{host}:{port}: cannot listen there: {error.strerror}. Another server may; name another {option}."
        ) from None


def is_loopback(host: str) -> bool:
    """Returns whether only this machine reaches what listens there.

    >>> is_loopback("127.0.0.2"), is_loopback("::1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name; the address behind it may change
        return False
