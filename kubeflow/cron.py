"""The times of a recurring run: six fields, the seconds first, as Kubeflow Pipelines reads them.

Its server reads them with robfig/cron 1.2, which also takes five fields, and then not as crontab does: the weekday is
what is missing, and "0 3 * * *" is three minutes past each hour. Here five fields are refused.
"""

import dataclasses
import datetime

from schema.errors import UsageError

_FORMAT = "second minute hour day month weekday"
_EXAMPLE = '"0 0 3 * * *" is each day at 3:00'
_LIMITS = {"second": (0, 59), "minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 6)}
_NAMES = {
    "month": ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    "weekday": ["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
}


@dataclasses.dataclass(frozen=True)
class Cron:
    """Times.

    Attributes:
        text: as it was given, with one space between fields.
        values: which of each field fit: seconds, minutes, hours, days, months, weekdays with 0 for Sunday.
        both: whether day and weekday have to fit, or one of them; robfig/cron wants both where either has a star.
    """

    text: str
    values: tuple[tuple[int, ...], ...]
    both: bool

    def find_next(self, after: datetime.datetime) -> datetime.datetime | None:
        """The next time, in UTC: the time zone of the server, if it is not set to another. None if there is none."""
        from croniter import CroniterBadDateError, croniter

        fields = (
            "*" if len(values) == high - low + 1 else ",".join(map(str, values))
            for values, (low, high) in zip(self.values, _LIMITS.values(), strict=True)
        )
        times = croniter(" ".join(fields), after, second_at_beginning=True, day_or=not self.both)
        try:
            return times.get_next(datetime.datetime)
        except CroniterBadDateError:
            return None


def parse_cron(text: str) -> Cron:
    """Reads six fields.

    Args:
        text: such as "0 0 3 * * *"; in each field `*`, numbers, ranges, steps and lists of these, and names of months
            and weekdays.
    Returns:
        The times.
    Raises:
        UsageError: if it is not six fields, or one of them is out of its range; it says what would be right.
    """
    fields = text.split()
    clean = " ".join(fields)
    if len(fields) == 5:
        raise UsageError(
            f'--cron "{clean}": Kubeflow wants six fields ({_FORMAT}), and these are the five of crontab. '
            f'With the seconds first: --cron "0 {clean}".'
        )
    if len(fields) != 6:
        raise UsageError(f'--cron "{clean}": expected six fields ({_FORMAT}; {_EXAMPLE}), got {len(fields)}.')
    try:
        values = tuple(_expand(name, field) for name, field in zip(_LIMITS, fields, strict=True))
    except ValueError as error:
        raise UsageError(f'--cron "{clean}": {error}.') from None
    cron = Cron(clean, values, both=any(field.startswith(("*", "?")) for field in (fields[3], fields[5])))
    if cron.find_next(datetime.datetime.now(datetime.timezone.utc)) is None:
        raise UsageError(f'--cron "{clean}": there is no such day in any year.')
    return cron


def _expand(name: str, field: str) -> tuple[int, ...]:
    return tuple(sorted({value for part in field.split(",") for value in _expand_part(name, part)}))


def _expand_part(name: str, part: str) -> range:
    low, high = _LIMITS[name]
    span, slash, step = part.partition("/")
    first, hyphen, last = span.partition("-")
    if span in ("*", "?"):
        start, end = low, high
    else:
        start = _number(name, first)
        end = _number(name, last) if hyphen else high if slash else start
    every = _number(name, step) if slash else 1
    if not low <= start <= end <= high:
        sunday = " (0 is Sunday)" if name == "weekday" else ""
        raise ValueError(f"{name}: expected {low} to {high}{sunday}, got {part}")
    if every == 0:
        raise ValueError(f"{name}: expected a step of 1 or more, got {part}")
    return range(start, end + 1, every)


def _number(name: str, text: str) -> int:
    names = _NAMES.get(name, [])
    if text.lower() in names:
        return names.index(text.lower()) + _LIMITS[name][0]
    if not (text.isascii() and text.isdigit()):
        named = f" or a name such as {names[0].upper()}" if names else ""
        raise ValueError(f"{name}: expected a number{named}, got {text or 'nothing'}")
    return int(text)
