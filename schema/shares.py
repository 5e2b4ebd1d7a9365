"""Renders shares as text."""


def write_percent(share: float, digits: int = 1) -> str:
    """Renders a share, 0 to 1, with its digits behind the point.

    >>> write_percent(0.95)
    '95.0 %'
    """
    return f"{100 * share:.{digits}f} %"
