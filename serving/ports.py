"""Checks that a port is free before a model is loaded for it, which takes many seconds."""

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
