"""Flags from the marks in a header, and what of them a mailbox takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.model import SYSTEM_FLAGS, Flags, Mark, is_keyword
from migrate.rules.flags import KEYWORD_OCTETS_MAX, KEYWORDS_MAX, admitted, flags_of

# The header, then the flags with ``Mark.AUTO``.
MARKS = """
Subject: x                                                      |
Status: RO                                                      | \\Seen
Status: O                                                       |
Status: R                                                       | \\Seen
status : r                                                      | \\Answered
Status: U                                                       |
X-Status: A                                                     | \\Answered
X-Status: F                                                     | \\Flagged
X-Status: T                                                     | \\Draft
X-Status: AFT                                                   | \\Answered \\Draft \\Flagged
X-Status: D                                                     |
X-Status: r                                                     | \\Answered
X-Keywords: $Forwarded work                                     | $Forwarded work
X-Keywords:                                                     |
X-Keywords: \\Seen \\Deleted \\Recent                           |
X-Keywords: caf\u00e9 (a) b] % *                                | _a_ b_ caf_
X-Keywords: Work work WORK                                      | Work
X-Mozilla-Status: 0001                                          | \\Seen
X-Mozilla-Status: 0000                                          |
X-Mozilla-Status: 1007                                          | $Forwarded \\Answered \\Flagged \\Seen
X-Mozilla-Status: 0009                                          | \\Seen
X-Mozilla-Status: 8001                                          | \\Seen
X-Mozilla-Status: zzzz                                          |
X-Mozilla-Status2: 00800000                                     | $MDNSent
X-Mozilla-Status2: 06000000                                     | $label3
X-Mozilla-Status2: 00200000                                     |
X-Mozilla-Keys: $label1 Junk                                    | $label1 Junk
X-Gmail-Labels: Inbox,Important,Unread                          | $Important
X-Gmail-Labels: Inbox                                           | \\Seen
X-Gmail-Labels: Inbox,Opened,Starred                            | \\Flagged \\Seen
X-Gmail-Labels: Drafts                                          | \\Draft \\Seen
X-Gmail-Labels: "Unread, but not the label",Inbox               | \\Seen
X-Gmail-Labels: "Unread"                                        |
X-Gmail-Labels: =?UTF-8?Q?Bo=C3=AEte_de_r=C3=A9ception,Non_lus?= |
X-Gmail-Labels: =?UTF-8?Q?Bo=C3=AEte_de_r=C3=A9ception,Suivis?= | \\Flagged \\Seen
X-Gmail-Labels: Posteingang,Ungelesen,Markiert                  | \\Flagged
X-Gmail-Labels: =?UTF-8?Q?Recibidos,No_le=C3=ADdos,Destacados?= | \\Flagged
X-Gmail-Labels: Posta in arrivo,Da leggere,Speciali             | \\Flagged
X-Gmail-Labels: Inbox,Ongelezen,Met ster                        | \\Flagged
X-Gmail-Labels: =?UTF-8?Q?Caixa_de_entrada,N=C3=A3o_lidas?=     |
X-Gmail-Labels: =?UTF-8?B?Qm/DrnRlLE5v?= =?UTF-8?B?biBsdXM=?=   |
"""

ROWS = [tuple(part.strip() for part in line.split("|", 1)) for line in MARKS.splitlines() if line]


@pytest.mark.parametrize(("header", "expected"), ROWS)
def test_marks_in_the_header_become_flags(header: str, expected: str) -> None:
    assert str(flags_of(header.encode() + b"\r\n\r\nStatus: RO\r\n", Mark.AUTO)) == expected


def test_several_marks_add_up() -> None:
    header = b"Status: RO\r\nX-Status: A\r\nX-Keywords: one\r\nX-Mozilla-Keys: two\r\n\r\n"
    assert str(flags_of(header, Mark.AUTO)) == "\\Answered \\Seen one two"


@pytest.mark.parametrize(
    ("header", "mark", "expected"),
    [
        (b"Subject: x\r\n\r\n", Mark.SEEN, "\\Seen"),
        (b"Subject: x\r\n\r\n", Mark.UNSEEN, ""),
        (b"Status: RO\r\nX-Status: F\r\n\r\n", Mark.UNSEEN, "\\Flagged"),
        (b"X-Status: F\r\n\r\n", Mark.SEEN, "\\Flagged \\Seen"),
        (b"X-Gmail-Labels: Unread\r\n\r\n", Mark.SEEN, "\\Seen"),
        (b"X-Gmail-Labels: Inbox\r\n\r\n", Mark.UNSEEN, ""),
    ],
)
def test_what_was_asked_overrules_the_header_about_seen_only(header: bytes, mark: Mark, expected: str) -> None:
    assert str(flags_of(header, mark)) == expected


def test_a_mail_has_a_bounded_number_of_keywords_of_bounded_length() -> None:
    words = b" ".join(b"word%d" % n for n in range(500))
    long_word = b"x" * (KEYWORD_OCTETS_MAX + 1)
    names = flags_of(b"X-Keywords: " + long_word + b" " + words + b"\r\n\r\n", Mark.AUTO).names
    assert len(names) == KEYWORDS_MAX
    assert long_word.decode() not in names


@given(st.binary(max_size=120), st.sampled_from([b"X-Keywords", b"X-Gmail-Labels", b"X-Mozilla-Status2", b"Status"]))
def test_no_header_makes_a_flag_that_may_not_be_stored(value: bytes, name: bytes) -> None:
    flags = flags_of(name + b": " + value, Mark.AUTO)
    assert "\\Deleted" not in flags.names
    assert all(flag in SYSTEM_FLAGS or is_keyword(flag) for flag in flags.names)


@pytest.mark.parametrize(
    ("flags", "permanent", "expected"),
    [
        ("\\Seen $Forwarded", "", "\\Seen"),
        ("\\Seen \\Flagged", "\\Seen", "\\Seen"),
        ("\\Seen", "\\SEEN \\Answered", "\\Seen"),
        ("$Forwarded work", "\\Seen $forwarded", "$Forwarded"),
        ("$Forwarded work \\Draft", "\\Seen \\*", "$Forwarded work"),
        ("\\Seen work", "\\Answered", ""),
        ("", "\\Seen \\*", ""),
    ],
)
def test_a_mailbox_gets_only_flags_it_keeps(flags: str, permanent: str, expected: str) -> None:
    assert str(admitted(Flags(frozenset(flags.split())), frozenset(permanent.split()))) == expected


@pytest.mark.corpus
def test_every_message_of_the_corpus_gets_flags(corpus: list[Path]) -> None:
    seen = sum("\\Seen" in flags_of(path.read_bytes()[:65536], Mark.AUTO).names for path in corpus)
    assert 0 < seen < len(corpus)
