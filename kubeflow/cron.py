"""The times of a recurring run: six fields, the seconds first, as Kubeflow Pipelines reads them.

Its server reads them with robfig/cron 1.2, which also takes five fields, and then not as crontab does: the weekday is
what is missing, and "0 3 * * *" is three minutes past each hour. Here five fields are refused, and all that croniter
would read in another way.
"""

import dataclasses
import datetime
import re

from croniter import CroniterBadDateError, CroniterError, croniter

from schema.errors import UsageError

_FIELDS = ("second", "minute", "hour", "day", "month", "weekday")
_FORMAT = " ".join(_FIELDS)
_EXAMPLE = '"0 0 3 * * *" is each day at 3:00'
# One of the parts of a field between commas; croniter has letters of its own besides, such as L, W, R and #.
_PART = re.compile(r"(?:[*?]|(\d+|[a-z]{3})(?:-(\d+|[a-z]{3}))?)(?:/0*[1-9]\d*)?", re.IGNORECASE | re.ASCII)


@dataclasses.dataclass(frozen=True)
class Cron:
    """Times: six fields with one space between them."""

    text: str

    def find_next(self, after: datetime.datetime) -> datetime.datetime | None:
        """The next time, in UTC: the time zone of the server, if it is not set to another. None if there is none."""
        _, _, _, day, _, weekday = self.text.split()
        both = any(field.startswith(("*", "?")) for field in (day, weekday))  # have to fit; else one of them
        times = croniter(self.text.replace("?", "*"), after, second_at_beginning=True, day_or=not both)
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
    if len(fields) != len(_FIELDS):
        raise UsageError(f'--cron "{clean}": expected six fields ({_FORMAT}; {_EXAMPLE}), got {len(fields)}.')
    for index, (name, field) in enumerate(zip(_FIELDS, fields, strict=True)):
        for part in field.split(","):
            if not _is_valid(part, index):
                named = " (or a name such as JAN or SUN; 0 is Sunday)" if name in ("month", "weekday") else ""
                raise UsageError(
                    f'--cron "{clean}": {name}: got {part or "nothing"}; expected *, a number{named} or a range from a '
                    "lower to a higher, and after it perhaps a step such as /2."
                )
    cron = Cron(clean)
    if cron.find_next(datetime.datetime.now(datetime.timezone.utc)) is None:
        raise UsageError(f'--cron "{clean}": there is no such day in any year.')
    return cron


def _is_valid(part: str, index: int) -> bool:
    """Tells whether croniter and robfig/cron read a part of a field, and as the same times."""
    match = _PART.fullmatch(part)
    if not match:
        return False
    texts = [text for text in match.groups() if text]
    try:
        values = [_read_value(text, index) for text in texts]
    except CroniterError:
        return False
    # croniter takes 7 for 0, and a range goes on from the beginning where it is not from a lower to a higher number.
    is_same = all(not text.isdigit() or int(text) == value for text, value in zip(texts, values, strict=True))
    return is_same and values == sorted(set(values))


def _read_value(text: str, index: int) -> int:
    """Returns the number that a number or a name in one of the six fields stands for."""
    fields = ["*"] * len(_FIELDS)
    fields[index] = text
    expanded, _ = croniter.expand(" ".join(fields), second_at_beginning=True)
    [value] = expanded[(index - 1) % len(_FIELDS)]  # the seconds are last
    return int(value)
