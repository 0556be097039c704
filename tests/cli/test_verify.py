"""What ``popferry verify`` and ``popferry rebuild`` say: the table, the list of what differs, the last lines."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from migrate.books import Tally
from migrate.cli import texts
from migrate.cli.check import CheckFace
from migrate.cli.face import Face, Manner
from migrate.cli.rebuild import RebuildFace
from migrate.cli.verify import VerifyFace
from migrate.errors import Exit
from migrate.events import (
    Checked,
    Connected,
    Counting,
    Damaged,
    Event,
    Fetched,
    Finished,
    Judged,
    Notice,
    Recounted,
    ServedBack,
    SetAside,
    StoredAgain,
)

from .script import STATE, Clock, Terminal, Told

QUIET, VERBOSE = Manner(level=texts.ALWAYS), Manner(level=texts.VERBOSE)
JSON = Manner(level=texts.ALWAYS, is_json=True)

READING: list[Event] = [
    Connected("destination", "imap.example.org:993, TLSv1.3"),
    Connected("source", "pop.example.org:995, TLSv1.3"),
    Counting("source", 4000, 250_000_000),
    Counting("destination", 5011, 0),
    *[Fetched(62_500)] * 40,
    ServedBack(250, 15_000_000),
]
FOUND: list[Event] = [
    Judged("u3", 48_211, "missing", "", None, (), is_shared=False, is_released=False, said=""),
    Judged("u4", 1, "missing", "", None, (), is_shared=False, is_released=True, said=""),
    Judged("u5", 2000, "differs", "", 17, (), is_shared=False, is_released=False, said=""),
    Judged(
        "u6", 2000, "differs", "", 18, ("only volatile headers differ",), is_shared=False, is_released=False, said=""
    ),
    Judged("", None, "unread", "", None, (), is_shared=False, is_released=False, said="-ERR no such message"),
    Judged("u7", 3000, "altered", "", 19, ("NUL octets stored as 0x80",), is_shared=False, is_released=False, said=""),
    Judged("u8", 3000, "duplicate", "", 20, (), is_shared=True, is_released=False, said=""),
]
RESULT = Recounted(
    is_complete=True, listed=4000, released=1004, octets=312_400_000, identical=4997, altered=1, duplicate=1, differs=2,
    missing=2, unread=1, shared=8, there=5011, copies=4993, also_there=18, exit=40,
)  # fmt: skip
LIST = """\
Missing: UIDL u3 (48,211 octets).
Missing: UIDL u4 (1 octet), deleted at the source.
Differs: UIDL u5 (2,000 octets): UID 17 at the destination: has the same name (Message-ID, or From, Date, Subject \
and To) and other content.
Differs: UIDL u6 (2,000 octets): UID 18 at the destination: only volatile headers differ.
Not compared: a message without a UIDL: the source did not serve it. The server said: "-ERR no such message"
"""
TABLE = """\
  4,997  identical, octet for octet
      1  there with named changes
      1  there as the same content with other volatile headers
      2  DIFFER
      2  MISSING
      1  not compared: the source did not serve them
  -----
  5,004  listed at the source or deleted there (312.4 MB)

Of these:
      8  served by the copy of another message
  1,004  deleted at the source, compared by the digests of the state file

At the destination:
  4,993  for messages of the source
     18  also there, from elsewhere
  -----
  5,011  messages
"""


def tell(
    kind: Callable[..., Face], events: Sequence[Event], exit: Exit, manner: Manner | None = None, err: Any = None
) -> Told:
    out, err, clock = io.StringIO(), err or io.StringIO(), Clock()
    face = kind(out, err, manner or Manner(), clock=clock)
    for event in events:
        clock.now_s += 0.3
        face.hear(event)
    exit = face.end(exit, STATE)
    return Told(out.getvalue(), err.getvalue(), exit)


def test_what_differs_and_the_table_are_the_result() -> None:
    told = tell(VerifyFace, [*READING, *FOUND, RESULT], Exit.DIFFERENCES)
    assert told.out == LIST + TABLE
    assert (
        told.err
        == """\
Connected to the destination: imap.example.org:993, TLSv1.3.
Connected to the source: pop.example.org:995, TLSv1.3.
To be read from the source: 4,000 messages (250.0 MB).
To be read from the destination: 5,011 messages.
30 of 9,011 messages of both ends read (1.9 MB).
popferry migrate copies what is missing, unless it was deleted at the source.
"""
    )


def test_the_numbers_of_both_tables_add_up() -> None:
    def sums(text: str) -> tuple[int, int]:
        parts, total = text.split("  -----\n")
        numbers = [int(line.split()[0].replace(",", "")) for line in parts.splitlines() if line.startswith(" ")]
        return sum(numbers), int(total.split()[0].replace(",", ""))

    first, _, rest = TABLE.partition("\nOf these:")
    assert len({*sums(first)}) == 1
    assert len({*sums(rest.partition("At the destination:\n")[2])}) == 1


def test_verbose_names_also_what_is_changed_or_shared() -> None:
    told = tell(VerifyFace, [*READING, *FOUND, RESULT], Exit.DIFFERENCES, VERBOSE)
    assert (
        """\
Changed: UIDL u7 (3,000 octets): UID 19 at the destination: NUL octets stored as 0x80.
Same content: UIDL u8 (3,000 octets): UID 20 at the destination has other volatile headers, and serves another \
message too.
"""
        in told.out
    )


def test_when_all_is_there_it_says_so_and_quiet_says_nothing() -> None:
    result = Recounted(is_complete=True, listed=2, identical=2, there=2, copies=2, octets=100)
    told = tell(VerifyFace, [*READING, result], Exit.OK)
    assert told.out.endswith("\nEverything that the source has is at the destination.\n")
    told = tell(VerifyFace, [*READING, result], Exit.OK, QUIET)
    assert (told.out, told.err) == ("", "")


def test_quiet_still_names_what_differs() -> None:
    told = tell(VerifyFace, [*READING, *FOUND, RESULT], Exit.DIFFERENCES, QUIET)
    assert told.out == LIST + TABLE


def test_a_recount_that_did_not_end_shows_no_table() -> None:
    result = Recounted(is_complete=False, exit=4, problems=("source: the connection was cut.",))
    told = tell(VerifyFace, [*READING, result], Exit.TEMPORARY)
    assert told.out == ""
    assert told.err.splitlines()[-2:] == [
        "Source: the connection was cut.",
        "Nothing was changed at either end. Run the same command again to compare.",
    ]


def test_json_is_every_event_and_nothing_else() -> None:
    told = tell(VerifyFace, [*READING, *FOUND, RESULT], Exit.DIFFERENCES, JSON)
    lines = [json.loads(line) for line in told.out.splitlines()]
    assert lines == [json.loads(json.dumps(event.as_json())) for event in [*READING, *FOUND, RESULT]]


def test_a_bar_shows_both_ends_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    told = tell(VerifyFace, [*READING, *FOUND, RESULT], Exit.DIFFERENCES, err=Terminal())
    assert "of 4,000 messages" in told.err
    assert told.out == LIST + TABLE


def test_text_of_a_server_is_shown_safely() -> None:
    event = Judged("a\x1b[31m", 1, "unread", "", None, (), is_shared=False, is_released=False, said="-ERR \x1b]0;x\x07")
    told = tell(VerifyFace, [event, RESULT], Exit.DIFFERENCES)
    assert "\x1b" not in told.out


# --- a backup alone -----------------------------------------------------------------------------

PROVED: list[Event] = [
    Counting("backup", 5000, 54_100_000),
    *[ServedBack(100, 1_000_000)] * 25,
    Damaged("INBOX/2026-11.mbox", 48_211, 42, "9f86d0", "damaged: its octets are not those that were stored"),
    *[ServedBack(100, 1_164_000)] * 25,
    Checked(12, 5000, 54_100_000, 1, 40),
]


def test_the_proof_of_a_backup_shows_how_far_it_is() -> None:
    told = tell(CheckFace, PROVED, Exit.DIFFERENCES)
    assert told.err.splitlines()[0] == "To be read from the backup: 5,000 messages (54.1 MB)."
    assert told.err.splitlines()[1] == "3,200 of 5,000 messages read (33.1 MB)."
    assert told.out == (
        "INBOX/2026-11.mbox, offset 48,211, uid 42 (SHA-256 9f86d0): damaged: "
        "its octets are not those that were stored.\n"
        "Read 5,000 messages in 12 files (54.1 MB); 1 fault.\n"
    )


def test_damage_is_told_above_the_bar_and_the_rate_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    told = tell(CheckFace, PROVED, Exit.DIFFERENCES, err=Terminal())
    bars = [line for line in told.err.replace("\n", "\r").split("\r") if "% |" in line]
    assert "of 5,000 messages" in bars[-1]
    rates = [float(found[1]) for bar in bars if (found := re.search(r"([0-9.]+) MB/s", bar))]
    assert rates
    assert max(rates) < 6, "54 MB in 15 s, also behind the damage"
    assert told.out.count("\n") == 2


def test_what_was_lost_and_stored_again_is_a_remark() -> None:
    events = [StoredAgain("INBOX/2026-11.mbox", 20, 1), Checked(12, 5000, 54_100_000, 0, 0)]
    told = tell(CheckFace, events, Exit.OK)
    remark, read, closing = (told.out + told.err).splitlines()
    assert remark == (
        "INBOX/2026-11.mbox, from uid 1 on: lost 20 messages, and stored again since: whole under a higher uid."
    )
    assert (read, closing) == ("Read 5,000 messages in 12 files (54.1 MB).", "Every message is there, whole.")
    quiet = tell(CheckFace, events, Exit.OK, QUIET)
    assert "stored again" not in quiet.out + quiet.err
    told = tell(CheckFace, events[1:], Exit.OK)
    assert (told.out + told.err).splitlines()[-1] == "Every octet is as it was stored."


# --- rebuild ------------------------------------------------------------------------------------

BOOKS = Tally(listed=5004, copied=4000, there=2, duplicate=8, set_aside=1, open=993, verified=4000, octets=250_000_000)


def test_a_rebuild_tells_what_it_found_and_what_is_left() -> None:
    events = [
        Notice("The state file is damaged; it will be kept beside the new one, its name ending in .corrupt-1."),
        *READING[:3],
        SetAside(3, "u3", "the source refused the message", "-ERR no"),
        Finished(BOOKS, 3, ()),
    ]
    told = tell(RebuildFace, events, Exit.SET_ASIDE)
    assert (
        told.out
        == """\
  4,000  found at the destination
      2  at the destination with other volatile headers
      8  duplicate of one of these
      1  set aside
    993  not at the destination
  -----
  5,004  listed at the source or in the spool
"""
    )
    assert told.err.startswith("The state file is damaged; it will be kept beside the new one")
    assert told.err.splitlines()[-3:] == [
        'Set aside: message 3 (UIDL u3). The source refused the message. The server said: "-ERR no"',
        f"The new state file is complete: {STATE}",
        "popferry migrate, with the same SOURCE and DEST, copies the 994 messages that are not there.",
    ]


def test_a_rebuild_with_nothing_left_says_so() -> None:
    told = tell(RebuildFace, [Finished(Tally(listed=2, copied=2, verified=2), 0, ())], Exit.OK)
    assert told.out.endswith("popferry migrate, with the same SOURCE and DEST, has nothing left to copy.\n")


def test_after_a_rebuild_it_is_the_backup_that_goes_on() -> None:
    backup = partial(RebuildFace, is_backup=True)
    told = tell(backup, [Finished(Tally(listed=3, copied=2, verified=2, open=1), 0, ())], Exit.OK)
    assert told.out.endswith("popferry backup, with the same SOURCE and DIR, copies the 1 message that is not there.\n")


@pytest.mark.parametrize("code", [Exit.TEMPORARY, Exit.DEST_LOGIN, Exit.INTERRUPTED, Exit.STATE_DAMAGED])
def test_a_rebuild_that_failed_shows_no_table_and_says_that_nothing_changed(code: Exit) -> None:
    told = tell(RebuildFace, [*READING[:3], Finished(Tally(), int(code), ())], code)
    assert told.out == ""
    assert "nothing was changed" in told.err
    assert told.err.endswith(f"State: {STATE}\n")
