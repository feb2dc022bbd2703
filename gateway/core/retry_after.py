"""When an upstream says it may be asked again: headers first, then its words.

Rules: ``retry-after-ms`` before ``retry-after``; a date counts from the answer's own ``date`` header and means nothing
without it; what cannot be read is ignored; a wait is between zero and an hour, whatever was said. Pure and total.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

LONGEST_S = 3600.0

_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(?:\.[0-9]{0,40})?")
_PHRASE = re.compile(
    r"(?:try again|retry)\s(?:in|after)\s"
    r"((?:[0-9]{1,9}(?:\.[0-9]{1,9})?\s?(?:ms|milliseconds?|h(?:ours?)?|m(?:in(?:ute)?s?)?|s(?:ec(?:ond)?s?)?)(?![a-z])\s?)+)",
    re.IGNORECASE,
)
# Not ``strptime``: it imports a module at its first call, from a disk, in the middle of a request.
_DATE = re.compile(r"[A-Za-z]{3}, ([0-9]{1,2}) ([A-Za-z]{3}) ([0-9]{4}) ([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2}) GMT")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_PART = re.compile(r"([0-9.]+)\s?(ms|milli|h|m|s)", re.IGNORECASE)
_SECONDS = (("ms", 0.001), ("milli", 0.001), ("h", 3600.0), ("m", 60.0), ("s", 1.0))


def retry_after_s(headers: Mapping[str, str], message: str = "") -> float | None:
    """Give the seconds to wait, 0..3600, or ``None`` when nothing readable was said.

    ``headers`` have lower-case names; ``message`` is the error's text ("Please try again in 1m30s.").
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return _clamped(milliseconds / 1000)
    said = headers.get("retry-after", "").strip()
    seconds = _number(said)
    if seconds is None:
        seconds = _until(said, headers.get("date", ""))
    if seconds is None:
        seconds = _spoken(message)
    return None if seconds is None else _clamped(seconds)


def _clamped(seconds: float) -> float:
    return max(0.0, min(LONGEST_S, seconds))


def _number(text: str) -> float | None:
    return float(text.strip()) if _NUMBER.fullmatch(text.strip()) else None


def _until(then: str, now: str) -> float | None:
    moment, answered = _date(then), _date(now)
    return None if moment is None or answered is None else (moment - answered).total_seconds()


def _date(text: str) -> datetime | None:
    found = _DATE.fullmatch(text.strip())
    if found is None or found[2].lower() not in _MONTHS:
        return None
    day, year, hour, minute, second = (int(part) for part in found.group(1, 3, 4, 5, 6))
    try:
        return datetime(year, _MONTHS.index(found[2].lower()) + 1, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None


def _spoken(message: str) -> float | None:
    match = _PHRASE.search(message)
    if match is None:
        return None
    scale = dict(_SECONDS)
    return sum(float(amount) * scale[unit.lower()] for amount, unit in _PART.findall(match[1]))
