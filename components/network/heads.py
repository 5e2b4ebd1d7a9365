"""Widths of the head's hidden layers, in a module that does not import TensorFlow."""

AUTO = "auto"
ARTICLE = (1024, 1024, 1024, 512)
CANDIDATES: tuple[tuple[int, ...], ...] = ((), (1024,), ARTICLE)  # of AUTO, the smallest first


def list_candidates(units: str | list[int]) -> list[list[int]]:
    """Returns the heads to try, the smallest first: those of AUTO, or the one that is given."""
    return [list(units) for units in CANDIDATES] if isinstance(units, str) else [units]


def describe_units(units: list[int]) -> str:
    """Describes a head: "no hidden layer", "1 hidden layer (1024)", "2 hidden layers (64, 32)"."""
    if not units:
        return "no hidden layer"
    return f"{len(units)} hidden layer{'s' * (len(units) > 1)} ({', '.join(map(str, units))})"
