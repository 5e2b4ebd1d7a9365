"""Times of a recurring run: a cron expression of six fields, the seconds first, as Kubeflow Pipelines reads it.

Kubeflow's server reads it with robfig/cron 1.2. That library also accepts five fields, but other than crontab it takes
the weekday for the missing one: "0 3 * * *" is three minutes past each hour. This module refuses five fields, and each
expression that croniter would read in another way than robfig/cron.
"""

import dataclasses
import datetime
import re

from croniter import CroniterBadDateError, CroniterError, croniter

from schema.errors import UsageError

_FIELDS = ("second", "minute", "hour", "day", "month", "weekday")
_FORMAT = " ".join(_FIELDS)
_EXAMPLE = '"0 0 3 * * *" is each day at 3:00'
# A part of a field between commas, without croniter's additions such as L, W, R and #.
_PART = re.compile(r"(?:[*?]|(\d+|[a-z]{3})(?:-(\d+|[a-z]{3}))?)(?:/0*[1-9]\d*)?", re.IGNORECASE | re.ASCII)


@dataclasses.dataclass(frozen=True)
class Cron:
    """Cron expression: six fields with one space between them."""

    text: str

    def find_next(self, after: datetime.datetime) -> datetime.datetime | None:
        """Returns the next time after another one, in UTC; None if there is none.

        UTC is the default time zone of Kubeflow's server.
        """
        _, _, _, day, _, weekday = self.text.split()
        # A time has to match day and weekday if either is "*" or "?"; otherwise one of them is enough.
        both = any(field.startswith(("*", "?")) for field in (day, weekday))
        times = croniter(self.text.replace("?", "*"), after, second_at_beginning=True, day_or=not both)
        try:
            return times.get_next(datetime.datetime)
        except CroniterBadDateError:
            return None


def parse_cron(text: str) -> Cron:
    """Parses a cron expression of six fields.

    Args:
        text: such as "0 0 3 * * *"; each field has `*`, numbers, ranges, steps and lists of these, or names of months
            and weekdays.
    Returns:
        The checked expression.
    Raises:
        UsageError: if there are not six fields, or one is out of its range; names the field and what is expected.
    """
    fields = text.split()
    clean = " ".join(fields)
    if len(fields) == 5:
        raise UsageError(
            f'--cron "{clean}": expected six fields ({_FORMAT}), and got the five of crontab. '
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
                    "lower to a higher number, each with or without a step such as /2."
                )
    cron = Cron(clean)
    if cron.find_next(datetime.datetime.now(datetime.timezone.utc)) is None:
        raise UsageError(f'--cron "{clean}": no year has such a day.')
    return cron


def _is_valid(part: str, index: int) -> bool:
    """Tells whether croniter and robfig/cron read a part of a field as the same times."""
    match = _PART.fullmatch(part)
    if not match:
        return False
    texts = [text for text in match.groups() if text]
    try:
        values = [_read_value(text, index) for text in texts]
    except CroniterError:
        return False
    # croniter reads 7 as 0, and a range from a higher to a lower number as one that wraps around.
    is_same = all(not text.isdigit() or int(text) == value for text, value in zip(texts, values, strict=True))
    return is_same and values == sorted(set(values))


def _read_value(text: str, index: int) -> int:
    """Returns the number that a number or a name in one of the six fields stands for."""
    fields = ["*"] * len(_FIELDS)
    fields[index] = text
    expanded, _ = croniter.expand(" ".join(fields), second_at_beginning=True)
    [value] = expanded[(index - 1) % len(_FIELDS)]  # croniter puts the seconds last
    return int(value)
