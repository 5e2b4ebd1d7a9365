"""Addresses of servers, as they may be printed."""


def without_password(address: str) -> str:
    """Returns an address without the name and the password before its host.

    Also of text that is no address: all up to the last "@" is left out, for a password may hold a slash.
    """
    user, at, host = address.rpartition("@")
    scheme, separator, _ = user.partition("://")
    return scheme + separator + host if at and separator else host
