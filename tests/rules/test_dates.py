"""The internal date of a message: one table of values, one of whole headers, and what must never happen."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.model import DateSource
from migrate.rules.dates import internal_date, parse_date

FETCHED_AT = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC).timestamp()

# One row a line: the value of Date, then the time it means with the offset that is kept. "-": no usable date.
VALUES = """
# RFC 5322
Mon, 1 Jan 2001 10:00:00 +0100                       | 2001-01-01T10:00:00+01:00
1 Jan 2001 10:00:00 +0100                            | 2001-01-01T10:00:00+01:00
Fri, 21 Nov 1997 09:55 -0600                         | 1997-11-21T09:55:00-06:00
Mon, 01 Jan 2001 10:00:00 +0100 (CET)                | 2001-01-01T10:00:00+01:00
Mon, 01 Jan 2001 10:00:00 -0000                      | 2001-01-01T10:00:00+00:00
Fri, 21 Nov 1997 09(comment):   55  :  06 -0600      | 1997-11-21T09:55:06-06:00
Thu (a (nested) one), 13 Feb 1969 23:32 -0330        | -
Thu, 13 Feb 2003 23:32 -0330 (Newfoundland Time)     | 2003-02-13T23:32:00-03:30
Mon, 01 Jan 2001 10:00:00 +0545                      | 2001-01-01T10:00:00+05:45
Mon, 01 Jan 2001 10:00:00 +1400                      | 2001-01-01T10:00:00+14:00
# obsolete zones and years
Fri, 24 Nov 95 10:00:00 EST                          | 1995-11-24T10:00:00-05:00
Tue, 4 Jul 00 10:00:00 PDT                           | 2000-07-04T10:00:00-07:00
Tue, 4 Jul 49 10:00:00 GMT                           | -
Tue, 4 Jul 108 02:06:32 +0000                        | 2008-07-04T02:06:32+00:00
Mon,  2 Apr 101 04:20:10 CST                         | 2001-04-02T04:20:10-06:00
Mon, 2 Apr 19101 04:20:10 +0000                      | 2001-04-02T04:20:10+00:00
Fri, 21 Nov 1997 09:55:06 UT                         | 1997-11-21T09:55:06+00:00
Fri, 21 Nov 1997 09:55:06 Z                          | 1997-11-21T09:55:06+00:00
Fri, 21 Nov 1997 09:55:06 A                          | 1997-11-21T09:55:06+00:00
# zone names and other ways to write an offset
Tue, 1 Jul 2003 10:00:00 CEST                        | 2003-07-01T10:00:00+02:00
Tue, 1 Jul 2003 10:00:00 MESZ                        | 2003-07-01T10:00:00+02:00
Sat, 13 Jun 92 08:53:25 JST                          | 1992-06-13T08:53:25+09:00
Sun, 11 Nov 2007 06:58:35 EET                        | 2007-11-11T06:58:35+02:00
Tue, 1 Jul 2003 10:00:00 MSK                         | 2003-07-01T10:00:00+03:00
Tue, 1 Jul 2003 10:00:00 est                         | 2003-07-01T10:00:00-05:00
Tue, 1 Jul 2003 10:00:00 NOWHERE                     | 2003-07-01T10:00:00+00:00
Tue, 1 Jul 2003 10:00:00 GMT+0100                    | 2003-07-01T10:00:00+01:00
Tue, 1 Jul 2003 10:00:00 GMT +0200                   | 2003-07-01T10:00:00+02:00
Tue, 1 Jul 2003 10:00:00 UTC-5                       | 2003-07-01T10:00:00-05:00
Tue, 1 Jul 2003 10:00:00 "GMT"                       | 2003-07-01T10:00:00+00:00
Tue, 1 Jul 2003 10:00:00 +01:00                      | 2003-07-01T10:00:00+01:00
Tue, 1 Jul 2003 10:00:00 +02                         | 2003-07-01T10:00:00+02:00
Tue, 1 Jul 2003 10:00:00 +200                        | 2003-07-01T10:00:00+02:00
Tue, 1 Jul 2003 10:00:00+0200                        | 2003-07-01T10:00:00+02:00
Tue, 1 Jul 2003 10:00:00 (CEST)                      | 2003-07-01T10:00:00+02:00
Wed, 20 Sep 1995 00:19:00 (EDT) -0400                | 1995-09-20T00:19:00-04:00
Tue, 1 Jul 2003 10:00:00                             | 2003-07-01T10:00:00+00:00
Tue, 1 Jul 2003 10:00:00 0530                        | 2003-07-01T10:00:00+00:00
# offsets that cannot be
Tue, 1 Jul 2003 10:00:00 +9999                       | 2003-07-01T10:00:00+00:00
Tue, 25 Jun 2002 17:41:37 -1600                      | 2002-06-25T17:41:37+00:00
Wed, 16 Aug 2006 20:52:12 +0360                      | 2006-08-16T20:52:12+00:00
# clocks
Sat, 31 Dec 2016 23:59:60 +0000                      | 2016-12-31T23:59:59+00:00
Sat, 31 Dec 2016 24:00:00 +0000                      | 2017-01-01T00:00:00+00:00
Sat, 31 Dec 2016 24:00 +0100                         | 2017-01-01T00:00:00+01:00
Sat, 31 Dec 2016 24:30:00 +0000                      | -
Sat, 31 Dec 2016 12:61:00 +0000                      | -
Mon, 31 Feb 2003 10:00:00 +0000                      | -
Mon, 3 Mar 2003 10.20.30 +0000                       | 2003-03-03T10:20:30+00:00
Mon, 3 Mar 2003 9:05:07 +0000                        | 2003-03-03T09:05:07+00:00
Tue, 17 Jul 2012 22:23:35.882 +0000                  | 2012-07-17T22:23:35+00:00
Wed 29 May 2019 06:09:22 PM EDT                      | 2019-05-29T18:09:22-04:00
18 Feb 01 12:29:13 AM                                | 2001-02-18T00:29:13+00:00
# other orders
Mon Jan  1 10:00:00 2001                             | 2001-01-01T10:00:00+00:00
Mon Jan  1 10:00:00 2001 -0500                       | 2001-01-01T10:00:00-05:00
Mon Jan 02 15:04:05 +0000 2023                       | 2023-01-02T15:04:05+00:00
Mon Jan  2 15:04:05 EST 2006                         | 2006-01-02T15:04:05-05:00
Mon Jan 02 2006 15:04:05 GMT+0100 (CET)              | 2006-01-02T15:04:05+01:00
Wednesday, April 21, 2004 9:15 AM                    | 2004-04-21T09:15:00+00:00
2001-01-01T10:00:00+01:00                            | 2001-01-01T10:00:00+01:00
2001-01-01T10:00:00.123Z                             | 2001-01-01T10:00:00+00:00
20010101T100000Z                                     | 2001-01-01T10:00:00+00:00
2012-12-08 00:48                                     | 2012-12-08T00:48:00+00:00
2012/12/08 00:48:01 +0100                            | 2012-12-08T00:48:01+01:00
10:00:00 3 Jan 2006                                  | 2006-01-03T10:00:00+00:00
2006 Jan 3 10:00:00 +0100                            | 2006-01-03T10:00:00+01:00
# localised
lun., 1 janv. 2001 10:00:00 +0100                    | 2001-01-01T10:00:00+01:00
jeu. 14 août 2003 10:00:00 +0200                     | 2003-08-14T10:00:00+02:00
mar., 4 févr. 2003 10:00:00 +0100                    | 2003-02-04T10:00:00+01:00
Do, 6 März 2003 10:00:00 +0100                       | 2003-03-06T10:00:00+01:00
Mo, 1. Dezember 2003 10:00:00 +0100                  | 2003-12-01T10:00:00+01:00
lun, 6 ene 2003 10:00:00 +0100                       | 2003-01-06T10:00:00+01:00
lunes, 6 de enero de 2003 10:00:00 +0100             | 2003-01-06T10:00:00+01:00
gio, 5 giu 2003 10:00:00 +0200                       | 2003-06-05T10:00:00+02:00
do, 6 mrt 2003 10:00:00 +0100                        | 2003-03-06T10:00:00+01:00
qua, 1 out 2003 10:00:00 -0300                       | 2003-10-01T10:00:00-03:00
pt, 5 wrz 2003 10:00:00 +0200                        | 2003-09-05T10:00:00+02:00
Пн, 6 янв 2003 10:00:00 +0300                        | 2003-01-06T10:00:00+03:00
=?iso-8859-1?Q?jeu=2E_14_ao=FBt_2003?= 10:00:00 +0200 | 2003-08-14T10:00:00+02:00
=?utf-8?B?RG8sIDYgTcOkcnogMjAwMw==?= 10:00:00 +0100  | 2003-03-06T10:00:00+01:00
# stray text
Mon, 1 Jan 2001 10:00:00 +0100 and more              | 2001-01-01T10:00:00+01:00
Date: Mon, 1 Jan 2001 10:00:00 +0100                 | 2001-01-01T10:00:00+01:00
, 1 Jun 2016 22:00:54 +0200                          | 2016-06-01T22:00:54+02:00
Wed, 9 Apr 2003 10:00:00 -0700 (PDT),Wed, 9 Apr 2003 10:00:01 -0700 | 2003-04-09T10:00:00-07:00
Mon, 1 Jan 2001 10:00:00 +0100 (CET                  | 2001-01-01T10:00:00+01:00
Mon, 1 Jan 2001 10:00:00 +0100; sent late            | 2001-01-01T10:00:00+01:00
# day, month and year with dots
29.04.2017 23:34                                     | 2017-04-29T23:34:00+00:00
6.11.1994 08:49                                      | 1994-11-06T08:49:00+00:00
So, 06.11.1994, 08:49:37 +0100                       | 1994-11-06T08:49:37+01:00
6. 11. 1994 8:49 CET                                 | 1994-11-06T08:49:00+01:00
# numbers without a 0 in front
Thu, 1 Jan 2004 1:2:3 +0000                          | 2004-01-01T01:02:03+00:00
Thu Jan  1 1:2:3 2004                                | 2004-01-01T01:02:03+00:00
# a date alone
Thu, 1 Jan 2004                                      | 2004-01-01T00:00:00+00:00
1 Jan 2001                                           | 2001-01-01T00:00:00+00:00
Thu Jan  1 2004                                      | 2004-01-01T00:00:00+00:00
January 1st, 2004                                    | 2004-01-01T00:00:00+00:00
1994-11-06                                           | 1994-11-06T00:00:00+00:00
1994/11/06                                           | 1994-11-06T00:00:00+00:00
6.11.1994                                            | 1994-11-06T00:00:00+00:00
lunes, 6 de enero de 2003                            | 2003-01-06T00:00:00+00:00
Thu, 1 Jan 2004 (PST)                                | 2004-01-01T00:00:00+00:00
# digits alone
20010101100000                                       | 2001-01-01T10:00:00+00:00
20010101100000+0100                                  | 2001-01-01T10:00:00+01:00
20010101100000Z                                      | 2001-01-01T10:00:00+00:00
# Russian months as they stand in a dictionary
6 Январь 2003 10:00:00 +0300                         | 2003-01-06T10:00:00+03:00
6 Май 2003 10:00:00 +0300                            | 2003-05-06T10:00:00+03:00
6 Сентябрь 2003                                      | 2003-09-06T00:00:00+00:00
# nothing is guessed
3/4/2005 10:00:00                                    | -
4/27/07 1:08 PM                                      | -
29-04-2017 23:34                                     | -
01.02.03 10:00                                       | -
10.00 3.4.05                                         | -
1 Jan 01                                             | -
January 2001                                         | -
2001                                                 | -
20010101                                             | -
2001010110000                                        | -
20011301100000                                       | -
id 20010101100000                                    | -
31.02.2003                                           | -
1 Jan 2001 or so                                     | -
Jan 2001 10:00                                       | -
Thu Jan 01 00:00:10 +0000                            | -
99                                                   | -
yesterday, 10:00                                     | -
%DATE%                                               | -
Mon, 1 Foo 2001 10:00:00 +0100                       | -
Wed, 4 Jun 20777777777777714 17:50:46 0              | -
                                                     | -
"""


def _rows(table: str) -> list[tuple[str, str]]:
    rows = [line.rpartition("|") for line in table.splitlines() if line and not line.startswith("#")]
    return [(value.strip(), expected.strip()) for value, _, expected in rows]


@pytest.mark.parametrize(("value", "expected"), _rows(VALUES))
def test_a_date_means_the_time_in_the_table(value: str, expected: str) -> None:
    header = b"Subject: x\r\nDate: " + value.encode() + b"\r\n\r\n"
    date = internal_date(header, FETCHED_AT)
    if expected == "-":
        assert date.source is DateSource.FETCHED
        assert date.when.timestamp() == FETCHED_AT
    else:
        assert date.when.isoformat() == expected
        assert date.source is DateSource.DATE


RECEIVED = "Received: from a by b (c; d); "
FETCHED = "2026-03-01T12:00:00+00:00"

# What it is about, the header, the time, the source.
HEADERS = [
    (
        "Received comes before Date",
        f"{RECEIVED}Mon, 1 Jan 2001 10:00:05 +0100\nDate: Mon, 1 Jan 2001 09:59:00 +0100\n",
        "2001-01-01T10:00:05+01:00 received",
    ),
    (
        "the topmost Received counts",
        f"{RECEIVED}Mon, 1 Jan 2001 10:00:05 +0100\n{RECEIVED}Mon, 1 Jan 2001 10:00:01 +0100\n",
        "2001-01-01T10:00:05+01:00 received",
    ),
    (
        "Received may be folded anywhere, in CRLF",
        "Received: from a\r\n\tby b;\r\n Mon,\r\n 1 Jan 2001\r\n 10:00:05 +0100\r\nDate: 1 Jan 2001 10:00 +0100\r\n",
        "2001-01-01T10:00:05+01:00 received",
    ),
    (
        "a Received without a semicolon is read where its date stands",
        "Received: by relay id Jr3FHeoX083118 Sun, 30 Mar 2025 23:34:54 +0900\n",
        "2025-03-30T23:34:54+09:00 received",
    ),
    (
        "a number of that many digits in a Received is no date",
        "Received: by relay id 20010101100000 Sun, 30 Mar 2025 23:34:54 +0900\n",
        "2025-03-30T23:34:54+09:00 received",
    ),
    (
        "text after the date of a Received is passed over",
        "Received: by a; Mon, 1 Jan 2001 10:00:05 +0100 (envelope-from <x@y>)\n",
        "2001-01-01T10:00:05+01:00 received",
    ),
    (
        "a semicolon in a comment does not end the Received",
        "Received: by a; Mon, 1 Jan 2001 10:00:05 +0100 (CET; winter)\n",
        "2001-01-01T10:00:05+01:00 received",
    ),
    (
        "a bracket that does not close before the semicolon hides nothing",
        "Received: by a (8.12.10 with ESMTP; Mon, 22 Sep 2008 20:20:25 GMT\n",
        "2008-09-22T20:20:25+00:00 received",
    ),
    (
        "a Received that cannot be read leaves it to the next",
        f"Received: apparently\n{RECEIVED}Mon, 1 Jan 2001 10:00:01 +0100\n",
        "2001-01-01T10:00:01+01:00 received",
    ),
    (
        "Delivery-date on top is the delivery",
        f"Delivery-date: Mon, 01 Jan 2001 10:00:09 +0100\n{RECEIVED}Mon, 1 Jan 2001 10:00:05 +0100\n",
        "2001-01-01T10:00:09+01:00 delivery-date",
    ),
    (
        "Delivery-date of an earlier hop stands below",
        f"{RECEIVED}Tue, 2 Jan 2001 10:00:05 +0100\nDelivery-date: Mon, 01 Jan 2001 10:00:09 +0100\n",
        "2001-01-02T10:00:05+01:00 received",
    ),
    (
        "X-Received is a Received",
        "X-Received: by 10.0.0.1 with SMTP id a1; Mon, 01 Jan 2001 10:00:09 -0800 (PST)\n",
        "2001-01-01T10:00:09-08:00 received",
    ),
    (
        "fetchmail's own Received on old mail is passed over",
        f"{RECEIVED}Fri, 1 May 2015 10:00:05 +0200\n{RECEIVED}Mon, 3 Jan 2005 10:00:01 +0100\n"
        "Date: Mon, 3 Jan 2005 09:59:00 +0100\n",
        "2005-01-03T10:00:01+01:00 received",
    ),
    (
        "a lone Received years after Date gives way to Date",
        f"{RECEIVED}Fri, 1 May 2015 10:00:05 +0200\nDate: Mon, 3 Jan 2005 09:59:00 +0100\n",
        "2005-01-03T09:59:00+01:00 date",
    ),
    (
        "a lone Received long before Date gives way to Date",
        f"{RECEIVED}Sat, 1 Jan 2000 00:00:05 +0000\nDate: Mon, 3 Jan 2005 09:59:00 +0100\n",
        "2005-01-03T09:59:00+01:00 date",
    ),
    (
        "two hops that agree outvote a Date after them",
        f"{RECEIVED}Mon, 3 Jan 2005 10:00:05 +0100\n{RECEIVED}Mon, 3 Jan 2005 10:00:01 +0100\n"
        "Date: Mon, 3 Jan 2022 09:59:00 +0100\n",
        "2005-01-03T10:00:05+01:00 received",
    ),
    (
        "a Date older than RFC 822 is a clock that was never set",
        f"{RECEIVED}Mon, 3 Jan 2005 10:00:05 +0100\nDate: Tue, 1 Jan 1980 00:00:00 +0000\n",
        "2005-01-03T10:00:05+01:00 received",
    ),
    (
        "a Date in the future does not vote",
        f"{RECEIVED}Mon, 3 Jan 2005 10:00:05 +0100\nDate: Tue, 1 Jan 2036 00:00:00 +0000\n",
        "2005-01-03T10:00:05+01:00 received",
    ),
    (
        "a Received in the future is not believed",
        f"{RECEIVED}Mon, 3 Jan 2033 10:00:05 +0100\nDate: Mon, 3 Jan 2005 09:59:00 +0100\n",
        "2005-01-03T09:59:00+01:00 date",
    ),
    (
        "a day ahead of the fetch is a clock, more is not",
        "Date: Mon, 2 Mar 2026 11:59:00 +0000\n",
        "2026-03-02T11:59:00+00:00 date",
    ),
    ("more than a day ahead", "Date: Mon, 2 Mar 2026 12:01:00 +0000\n", f"{FETCHED} fetched"),
    ("before 1971", "Date: Thu, 1 Jan 1970 00:00:00 +0000\n", f"{FETCHED} fetched"),
    ("the first day of 1971", "Date: Fri, 1 Jan 1971 00:00:00 +0000\n", "1971-01-01T00:00:00+00:00 date"),
    (
        "a Received below other fields still counts",
        f"From: a@b\nDate: Mon, 1 Jan 2001 09:59:00 +0100\n{RECEIVED}Mon, 1 Jan 2001 10:00:05 +0100\n",
        "2001-01-01T10:00:05+01:00 received",
    ),
    (
        "Resent-Date comes before Date",
        "Resent-Date: Tue, 2 Jan 2001 10:00:00 +0100\nDate: Mon, 1 Jan 2001 10:00:00 +0100\n",
        "2001-01-02T10:00:00+01:00 resent-date",
    ),
    (
        "of two Dates the first usable one",
        "Date: no\nDate: Mon, 1 Jan 2001 10:00:00 +0100\n",
        "2001-01-01T10:00:00+01:00 date",
    ),
    (
        "X-OriginalArrivalTime as text",
        "X-OriginalArrivalTime: 22 Jan 2004 18:56:20.0123 (UTC) FILETIME=[6C112200:01C3E119]\n",
        "2004-01-22T18:56:20+00:00 other-header",
    ),
    (
        "X-OriginalArrivalTime as FILETIME only",
        "X-OriginalArrivalTime: FILETIME=[D53E8000:019DB1DE]\n",
        f"{FETCHED} fetched",  # that one is 1970
    ),
    (
        "X-OriginalArrivalTime as FILETIME of 2004",
        "X-OriginalArrivalTime: FILETIME=[6C112200:01C3E119]\n",
        "2004-01-22T18:56:20+00:00 other-header",
    ),
    ("X-Delivery-Time", "X-Delivery-Time: 1075114563\n", "2004-01-26T10:56:03+00:00 other-header"),
    ("nothing at all", "Subject: x\n", f"{FETCHED} fetched"),
    ("no header", "", f"{FETCHED} fetched"),
    ("a Date in the body is none", "Subject: x\n\nDate: Mon, 1 Jan 2001 10:00:00 +0100\n", f"{FETCHED} fetched"),
    ("names in any case, space before the colon", "DATE : 1 Jan 2001 10:00 +0100\n", "2001-01-01T10:00:00+01:00 date"),
    (
        "a From_ line first",
        "From a@b Fri Dec 31 23:00:00 1999\nDate: 1 Jan 2001 10:00 +0100\n",
        "2001-01-01T10:00:00+01:00 date",
    ),
]


@pytest.mark.parametrize(("about", "header", "expected"), HEADERS, ids=[row[0] for row in HEADERS])
def test_the_best_evidence_of_a_header_counts(about: str, header: str, expected: str) -> None:
    date = internal_date(header.encode(), FETCHED_AT)
    assert f"{date.when.isoformat()} {date.source.value}" == expected


@pytest.mark.parametrize("fetched_at", [float("inf"), float("-inf"), float("nan"), 1e300, -1e18, -1.0, 0.0, 1.5])
def test_a_fetch_at_no_possible_time_raises_nothing(fetched_at: float) -> None:
    assert internal_date(b"Date: Mon, 1 Jan 2001 10:00:00 +0100\n", fetched_at).when.tzinfo is not None


@given(st.binary(max_size=300))
def test_no_octets_make_the_reader_raise(value: bytes) -> None:
    when = parse_date(value)
    assert when is None or when.utcoffset() is not None
    internal_date(value, FETCHED_AT)


_WORDS = "Mon, 31 Feb 2001 10:00:60 24:00 +9999 -0000 GMT+ Z am ( ) ; : / . 9999 0001 0000 T99 EST jan. =?utf-8?q?a?= ٣"


@given(st.lists(st.sampled_from(_WORDS.split()), max_size=12), st.sampled_from(["", " "]))
def test_no_words_of_dates_make_the_reader_raise(words: list[str], between: str) -> None:
    when = parse_date(between.join(words).encode())
    assert when is None or abs(when.utcoffset() or timedelta()) <= timedelta(hours=14)


@given(st.datetimes(datetime(1971, 1, 2), datetime(2026, 2, 27)), st.integers(-14 * 60, 14 * 60))
def test_every_time_written_by_rfc_5322_is_read_back(naive: datetime, offset: int) -> None:
    sign, minutes = "-" if offset < 0 else "+", abs(offset)
    clock = f"{naive:%H:%M:%S} {sign}{minutes // 60:02}{minutes % 60:02}"
    when = parse_date(f"{naive.day} {calendar.month_abbr[naive.month]} {naive.year} {clock}".encode())
    assert when is not None
    assert when.utcoffset() == timedelta(minutes=offset)
    assert when.replace(tzinfo=None) == naive.replace(microsecond=0)


@pytest.mark.corpus
def test_every_message_of_the_corpus_gets_a_date(corpus: list[Path]) -> None:
    sources = {internal_date(path.read_bytes()[:65536], FETCHED_AT).source for path in corpus}
    assert {DateSource.RECEIVED, DateSource.DATE, DateSource.FETCHED} <= sources
