"""Server addresses in a form that is safe to print."""


def without_password(address: str) -> str:
    """Removes user name and password from an address.

    All text before the last "@" is removed, because a password may hold a slash. The text need not be a valid address.
    """
    user, at, host = address.rpartition("@")
    scheme, separator, _ = user.partition("://")
    return scheme + separator + host if at and separator else host
