"""Dates as mail has them: RFC 5322 §3.3 and §4.3, and what programs wrote instead.

    Mon, 1 Jan 2001 10:00:00 +0100 (CET)     and with parts missing, localised, dotted, two-digit years
    Mon Jan  1 10:00:00 2001                 ctime, with a zone before or after the year; January 1, 2001 10:00 PM
    2001-01-01T10:00:00+01:00                ISO 8601, year first in any case
    1.1.2001 10:00                           day first: nobody who writes dots puts the month there
    1 Jan 2001; 2001-01-01; 20010101100000   where the whole value is nothing else

A date needs day, month and year, and has hour and minute unless the whole value
is a date alone, which is 00:00 UTC. Nothing else is made up but seconds
(0) and the zone: without one, or with one that is unknown or beyond 14 hours,
the time is taken as UTC. Day and month both as numbers are read only behind
the year, and with dots: 3/4/2005 has two meanings, 01.02.03 more.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from functools import lru_cache

from ..wire.header import text_of
from .date_words import ENGLISH_MONTHS, MONTHS, ZONES

_OCTETS_MAX = 1000  # of a value that are looked at: its beginning, or its end where it has a semicolon
_OFFSET_MAX = 14 * 60

_USUAL = re.compile(
    rb"\s*(?:[A-Za-z]{3},\s*)?(\d{1,2}) ([A-Za-z]{3}) (\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)([0-5]\d)(?!\d)"
)
_USUAL_MONTHS = {month.capitalize().encode(): number for number, month in enumerate(ENGLISH_MONTHS, 1)}

_TIME = (
    r"(?<![\d:.])(?P<hour>\d{1,2}) ?[:.h] ?(?P<minute>\d{2}|\d(?=:\d{1,2}(?!\d)))"
    r"(?: ?[:.] ?(?P<second>\d{1,2}))?(?:[.,]\d+)?(?![\d:])(?: ?(?P<half>[ap])\.?m\b\.?)?"
)
_WORD = r"[^\W\d_]{3,12}"
_ORDINAL = r"(?:st|nd|rd|th|er|o|a)?"


def _zone(n: int) -> str:
    offset = rf"(?:[a-z]{{1,5}} ?)?(?P<sign{n}>[+-]) ?(?P<zone_hour{n}>\d{{1,2}}):?(?P<zone_minute{n}>\d\d)?(?!\d)"
    return rf"(?: ?(?:{offset}|(?P<zone_name{n}>[a-z]{{1,5}})\b))?"


_FORMS = (
    re.compile(
        rf"(?<!\d)(?P<year>\d{{4}})(?P<cut>[-/.])(?P<month>\d{{1,2}})(?P=cut)(?P<day>\d{{1,2}})[t ,]+{_TIME}{_zone(1)}"
    ),
    re.compile(rf"(?<![\d:.])(?P<day>\d{{1,2}})\. ?(?P<month>\d{{1,2}})\. ?(?P<year>\d{{4}})[t ,]+{_TIME}{_zone(1)}"),
    re.compile(
        r"(?<!\d)(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)t(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)" + _zone(1)
    ),
    re.compile(
        rf"(?<![\d:.])(?P<day>\d{{1,2}})(?!\d){_ORDINAL}[ \-/.,]*(?:de |of )?(?P<name>{_WORD})"
        rf"[ \-/.,]*(?:de |del |of )?(?P<year>\d{{2,5}})(?:[ ,t]| at | a las | um | om | a )+{_TIME}{_zone(1)}"
    ),
    re.compile(
        rf"(?P<name>{_WORD})[ \-/.,]+(?P<day>\d{{1,2}})(?!\d){_ORDINAL},? (?:(?P<year>\d{{4}}),? )?(?:at )?"
        rf"{_TIME}{_zone(1)}(?: (?P<late_year>\d{{4}})(?!\d))?{_zone(2)}"
    ),
)

# Forms that are read only where the whole value is that: in other text they may be a number of something.
_WEEKDAY = r"(?:[^\W\d_]+[., ]+)?"
_WHOLE = (
    re.compile(r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)" + _zone(1)),
    re.compile(_WEEKDAY + r"(?P<year>\d{4})(?P<cut>[-/.])(?P<month>\d{1,2})(?P=cut)(?P<day>\d{1,2})"),
    re.compile(_WEEKDAY + r"(?P<day>\d{1,2})\. ?(?P<month>\d{1,2})\. ?(?P<year>\d{4})"),
    re.compile(
        rf"{_WEEKDAY}(?P<day>\d{{1,2}}){_ORDINAL}[ \-/.,]*(?:de |of )?(?P<name>{_WORD})"
        r"[ \-/.,]*(?:de |del |of )?(?P<year>\d{4})"
    ),
    re.compile(rf"{_WEEKDAY}(?P<name>{_WORD})[ \-/.,]+(?P<day>\d{{1,2}}){_ORDINAL},? (?P<year>\d{{4}})"),
)

_INNER_COMMENT = re.compile(r"\(([^()]*)\)")
_NUMERIC_DATE = re.compile(r"\d[/.-]\d{1,2}[/.-]\d|\d[/-]\d")
_WORDS = re.compile(r"[^\W\d_]+")
_FULL_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")
_ZONE_AFTER_TIME = re.compile(_TIME + _zone(1))


# Reads a plain English date in an order of its own; None when anything is missing or unclear.
LastResort = Callable[[str], datetime | None]


def read_date(value: bytes, last_resort: LastResort) -> datetime | None:
    """The aware time that the value tells, or None. Behind its last semicolon is looked first."""
    tail = value.rpartition(b";")[2] if b";" in value else value
    if usual := _USUAL.match(tail):
        day, month, year, hour, minute, second, sign, zone_hour, zone_minute = usual.groups()
        offset = int(zone_hour) * 60 + int(zone_minute)
        if (number := _USUAL_MONTHS.get(month)) and offset <= _OFFSET_MAX:
            offset = -offset if sign == b"-" else offset
            return _moment(int(year), number, int(day), int(hour), int(minute), int(second), offset)
    if b";" not in value:
        return _read(*_fold(value[:_OCTETS_MAX]), last_resort)
    if when := _read(*_fold(tail[:_OCTETS_MAX]), last_resort):
        return when
    # The semicolon stood in a comment, or what follows it is no date.
    text, comments = _fold(value[-_OCTETS_MAX:])
    return _read(text.rpartition(";")[2], comments, last_resort) or _read(text, comments, last_resort)


def _fold(value: bytes) -> tuple[str, list[str]]:
    """The value in lower case, without accents and comments, one space between words; and the comments."""
    text = unicodedata.normalize("NFKD", text_of(value).casefold())
    text = "".join(char for char in text if not unicodedata.combining(char))
    text = text.translate({0x2212: "-", 0x2013: "-", 0x22: " "})
    comments: list[str] = []
    while "(" in text:
        comments += _INNER_COMMENT.findall(text)
        text, count = _INNER_COMMENT.subn(" ", text)
        if not count:  # one that does not end
            text = text.partition("(")[0]
    return " ".join(text.split()), comments


def _read(text: str, comments: list[str], last_resort: LastResort) -> datetime | None:
    """The time in the folded text: of the first form that is there, even where its numbers are impossible."""
    for found in _found(text):
        parts = found.groupdict()
        month = MONTHS.get(parts["name"]) if parts.get("name") else int(parts["month"] or 0)
        year = parts["year"] or parts.get("late_year")
        if month and year:
            return _assemble(parts, _full_year(year), month, _offset(parts, comments) if parts.get("hour") else 0)
    plain, offset = _in_english(text, comments)
    when = last_resort(plain) if plain else None
    return when.replace(tzinfo=_timezone(offset)) if when else None


def _found(text: str) -> Iterator[re.Match[str]]:
    for form in _FORMS:
        yield from form.finditer(text)
    for form in _WHOLE:
        if found := form.fullmatch(text):
            yield found


def _assemble(parts: dict[str, str | None], year: int, month: int, offset: int) -> datetime | None:
    hour, minute, second = (int(parts.get(name) or 0) for name in ("hour", "minute", "second"))
    half = parts.get("half")
    if half and 1 <= hour <= 12:
        hour = hour % 12 + (12 if half == "p" else 0)
    return _moment(year, month, int(parts["day"] or 0), hour, minute, second, offset)


def _moment(year: int, month: int, day: int, hour: int, minute: int, second: int, offset: int) -> datetime | None:
    """The time; a leap second is the one before, 24:00 the next midnight. None where the calendar has no such time."""
    if second in (60, 61):
        second = 59
    is_midnight = (hour, minute, second) == (24, 0, 0)
    try:
        when = datetime(year, month, day, 0 if is_midnight else hour, minute, second, tzinfo=_timezone(offset))
        return when + timedelta(days=1) if is_midnight else when
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=256)
def _timezone(minutes: int) -> timezone:
    return timezone(timedelta(minutes=minutes))


def _full_year(digits: str) -> int:
    """RFC 5322 §4.3: two digits are 1950 to 2049, three count from 1900. 19101 is a program that did so too."""
    year = int(digits)
    if len(digits) == 2:
        return year + (2000 if year < 50 else 1900)
    if len(digits) == 3:
        return year + 1900
    if len(digits) == 5 and digits.startswith("191"):
        return 1900 + int(digits[2:])
    return year if len(digits) == 4 else 0


def _offset(parts: dict[str, str | None], comments: list[str]) -> int:
    """Minutes east of UTC: from the number, else the name, else a comment that is a zone's name, else 0."""
    for n in "12":
        if sign := parts.get("sign" + n):
            minutes = int(parts["zone_hour" + n] or 0) * 60 + int(parts["zone_minute" + n] or 0)
            is_real = minutes <= _OFFSET_MAX and int(parts["zone_minute" + n] or 0) < 60
            # GMT+0100 is east of Greenwich, whatever POSIX says.
            return (-minutes if sign == "-" else minutes) if is_real else 0
    names: Iterator[str] = (name for n in "12" if (name := parts.get("zone_name" + n)))
    known = [ZONES[name] for name in (*names, *(comment.strip() for comment in comments)) if name in ZONES]
    return known[0] if known else 0


def _in_english(text: str, comments: list[str]) -> tuple[str, int]:
    """The text with month and time in plain English and without zone, and the zone's offset; an empty
    text unless a full year, one month by name and one time are there."""
    zone = _ZONE_AFTER_TIME.search(text)
    if len(text) > 80 or not zone or _NUMERIC_DATE.search(text) or not _FULL_YEAR.search(text):
        return "", 0
    if sum(word in MONTHS for word in _WORDS.findall(text)) != 1:
        return "", 0
    half = f" {zone['half']}m" if zone["half"] else ""
    clock = f"{zone['hour']}:{zone['minute']}:{zone['second'] or '0'}{half}"
    plain = f"{text[: zone.start()]} {clock} {text[zone.end() :]}"
    plain = _WORDS.sub(lambda m: ENGLISH_MONTHS[MONTHS[m[0]] - 1] if m[0] in MONTHS else m[0], plain)
    return plain, _offset(zone.groupdict(), comments)
