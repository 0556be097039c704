"""The files that a backup writes, opened by programs of other people: each counts the same messages and shows the same
subjects, message by message."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from tests.stores.mbox_rig import checked, held, store
from tests.support.mailgen import generate
from tests.support.readers import READERS, Subjects, subject_of

from .nightly import Nightly, torture

pytestmark = [pytest.mark.dovecot]

_FIELD = re.compile(rb"[!-9;-~]+:[\t -~]*(?:\r\n[ \t][\t -~]*)*")


def is_clean(octets: bytes) -> bool:
    """Whether its header is fields of ASCII and nothing else, with one Subject: every program has to understand it."""
    header, end, _ = octets.partition(b"\r\n\r\n")
    fields = re.split(rb"\r\n(?![ \t])", header)
    subjects = [field for field in fields if field.lower().startswith(b"subject:")]
    return bool(end) and len(subjects) == 1 and b"=?" not in subjects[0] and all(map(_FIELD.fullmatch, fields))


def has_content_length(octets: bytes) -> bool:
    return re.search(rb"(?im)^content-length[ \t]*:", octets.partition(b"\r\n\r\n")[0]) is not None


def shown(name: str, path: Path, scratch: Path) -> Subjects:
    copy, place = scratch / "copy.mbox", scratch / "place"
    place.mkdir()
    shutil.copy(path, copy)
    try:
        return READERS[name](copy, place)
    except FileNotFoundError as error:
        missing([str(error)])


def missing(programs: list[str]) -> NoReturn:
    reason = f"{', '.join(programs)} is not installed here"
    if os.environ.get("POPFERRY_REQUIRE_READERS") == "1":
        pytest.fail(f"{reason}, and POPFERRY_REQUIRE_READERS=1 asks for it", pytrace=False)
    pytest.skip(reason)


def written(nightly: Nightly, messages: list[bytes]) -> tuple[Path, list[bytes]]:
    """The file of a backup of these messages, and what stands in it."""
    nightly.deliver(messages)
    ran = nightly.backup("--layout", "one")
    assert (ran.code, ran.err) == (0, "")
    (path,) = nightly.root.rglob("*.mbox")
    return path, [one.octets for one in held(nightly.root)]


def assert_shown(name: str, path: Path, messages: list[bytes], scratch: Path) -> int:
    """Value: how many subjects were compared."""
    found = shown(name, path, scratch)
    assert len(found) == len(messages), f"{name} counts otherwise"
    clean = [number for number, octets in enumerate(messages) if is_clean(octets)]
    wrong = [number for number in clean if found[number] != subject_of(messages[number])]
    assert wrong == [], f"{name} shows another subject"
    return len(clean)


@pytest.mark.parametrize("name", READERS)
def test_another_program_counts_the_same_messages_and_shows_their_subjects(
    nightly: Nightly, tmp_path: Path, name: str, record_property: Callable[[str, object], None]
) -> None:
    made = [*torture(), *generate(21, 200, odd=0.4)]
    path, messages = written(nightly, [octets for octets in made if not has_content_length(octets)])
    compared = assert_shown(name, path, messages, tmp_path)
    assert compared > 150
    record_property(f"messages counted by {name}, subjects compared", (len(messages), compared))


@pytest.mark.corpus
@pytest.mark.slow
def test_other_programs_count_the_same_messages_of_the_whole_corpus(
    nightly: Nightly, tmp_path: Path, corpus: list[Path], record_property: Callable[[str, object], None]
) -> None:
    real = [nightly.dovecot.served(path.read_bytes()) for path in corpus]
    path, messages = written(nightly, [octets for octets in real if not has_content_length(octets)])
    left_out: list[str] = []
    for name in READERS:
        scratch = tmp_path / name
        scratch.mkdir()
        try:
            compared = assert_shown(name, path, messages, scratch)
        except pytest.skip.Exception:
            left_out.append(name)  # the others are asked all the same
            continue
        record_property(f"messages counted by {name}, subjects compared", (len(messages), compared))
    if left_out:
        missing(left_out)


@pytest.mark.corpus
@pytest.mark.slow
def test_what_a_content_length_hides_of_the_whole_corpus_is_counted(
    nightly: Nightly, tmp_path: Path, corpus: list[Path], record_property: Callable[[str, object], None]
) -> None:
    path, messages = written(nightly, [path.read_bytes() for path in corpus])
    named = sum(map(has_content_length, messages))
    counts = {}
    for name in READERS:
        scratch = tmp_path / name
        scratch.mkdir()
        counts[name] = len(shown(name, path, scratch))
    believed = counts.pop("formail")
    assert len(messages) - named <= believed < len(messages)
    assert set(counts.values()) == {len(messages)}, counts
    record_property("messages, of these with a Content-Length, counted by formail", (len(messages), named, believed))


# What these programs believe of a Content-Length: so many they see of four messages, the second of which has it.
OBEYED = {
    "Python mailbox": {"true": 4, "of lines that ended in CRLF": 4, "beyond the file": 4, "over the next message": 4},
    "mutt": {"true": 4, "of lines that ended in CRLF": 4, "beyond the file": 4, "over the next message": 3},
    "Dovecot": {"true": 4, "of lines that ended in CRLF": 4, "beyond the file": 4, "over the next message": 3},
    "formail": {"true": 4, "of lines that ended in CRLF": 2, "beyond the file": 2, "over the next message": 3},
    "mblaze": {"true": 4, "of lines that ended in CRLF": 4, "beyond the file": 4, "over the next message": 4},
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("kind", OBEYED["mutt"])
def test_a_content_length_may_hide_the_next_message_from_programs_that_obey_it(
    tmp_path: Path, name: str, kind: str
) -> None:
    """docs/backup.md names these programs. Nothing is missing in the file, and all of it comes back."""
    others = [b"Subject: %d\r\nFrom: b@example.org\r\n\r\nText\r\n" % number for number in (1, 3, 4)]
    store(tmp_path / "measured", [with_length(0), others[1]])
    octets = next((tmp_path / "measured").rglob("*.mbox")).read_bytes()
    lengths = {
        "true": len(LINES.replace(b"\r", b"")),
        "of lines that ended in CRLF": len(LINES),
        "beyond the file": 99_999,
        "over the next message": len(octets) - octets.index(b"\n\n") - 3,
    }
    messages = [others[0], with_length(lengths[kind]), *others[1:]]
    root = tmp_path / "backup"
    store(root, messages)
    found = shown(name, next(root.rglob("*.mbox")), tmp_path)
    assert len(found) == OBEYED[name][kind], found
    assert [one.octets for one in held(root)] == messages
    assert checked(root)[0] == []


LINES = b"".join(b"line %d\r\n" % number for number in range(200))


def with_length(length: int) -> bytes:
    return b"Subject: 2\r\nFrom: a@example.org\r\nContent-Length: %05d\r\n\r\n" % length + LINES
