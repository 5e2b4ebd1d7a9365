"""Checks of ports and addresses, made before a model is loaded, which takes many seconds."""

import ipaddress
import socket

from schema.errors import UsageError


def check_free(host: str, port: int, option: str) -> None:
    """Refuses a port that this process cannot listen on.

    Args:
        host: address to listen on.
        port: port number; 0 stands for no port and is never refused.
        option: name of the port's option, for the message.
    Raises:
        UsageError: if another process listens on the port, or the system refuses the port.
    """
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind((host, port))
    except OSError as error:
        raise UsageError(
            f"{host}:{port}: cannot listen there: {error.strerror}. If another server does, name another {option}."
        ) from None


def is_loopback(host: str) -> bool:
    """Tells whether only this machine can reach an address.

    >>> is_loopback("127.0.0.2"), is_loopback("::1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a host name, whose address may change
        return False
