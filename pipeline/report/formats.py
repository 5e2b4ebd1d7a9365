"""Renders numbers of reports as text: counts, shares, durations."""

from schema import shares

_NONE = "\N{EN DASH}"  # replaces an unknown figure


def write_percent(share: float | None, digits: int = 1) -> str:
    """Renders a share as "95.0 %"."""
    return _NONE if share is None else shares.write_percent(share, digits)


def write_figure(value: float | None, digits: int = 3) -> str:
    """Renders a number with a fixed number of digits behind the point."""
    return _NONE if value is None else f"{value:.{digits}f}"


def write_count(number: float | None) -> str:
    """Renders a whole number as "1,234"."""
    return _NONE if number is None else f"{number:,.0f}"


def write_duration(seconds: float) -> str:
    """Renders a duration as "41.3 s", "12 min 5 s" or "3 h 2 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
