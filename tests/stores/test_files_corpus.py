"""Real mail files of many programs: every one of which a person would want the mail is read, and counted.

How the counts are known: Python's ``mailbox`` splits at every "From " that begins a line, and finds these numbers but
for the files in ``BY_EYE``. What the messages are is compared with the corpus, which has most of them as single files.
"""

from __future__ import annotations

import collections
import email
import mailbox
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from migrate.commands import Fetch
from migrate.errors import StoreError
from tests.conftest import CORPUS

from .contract import octets_of, play
from .files_rig import Read, lf

pytestmark = [pytest.mark.corpus]

FORMATS = CORPUS / "formats"

# By eye: what Python counts is not the number of messages. The rest of the name is that of the project it comes from.
BY_EYE = {
    "unmunged.mbox.txt": 2,  # a byte order mark before the first From_ line; two lines "From Russia with love"
    "separators2.sep": 2,  # "From this principle, all of life and physics may be deduced."
    "mbox_unquoted": 2,  # "From " in the text of the first
    # One message without a From_ line.
    **{f"mbox.rlug-{number}": 1 for number in range(5)},
    **dict.fromkeys(("bug460636", "bug92111", "bug92111b", "bugmail1", "bugmail10"), 1),
    **dict.fromkeys(("invalid_mozilla_keys.eml", "mailformed_recipients.eml"), 1),
    # Compressed: as many as the file of that name without the suffix.
    "mailarc-2.txt.bz2": 5,
    "mailarc-2.txt.gz": 5,
    "mailarc-2.txt.xz": 5,
    "mailarc-2.txt.lz": 5,
    "importtest.mbox.zip": 2,
    "mailbox_with_space.txt.gz": 3,
}
# Not mail: refused, or set aside, with the reason.
NO_MAIL = {
    **{f"{name}-offsets.json": "no mail" for name in ("content-length.dos", "content-length.unix")},
    **{f"{name}-offsets.json": "no mail" for name in ("issue1189.dos", "issue1189.unix")},
    "non-mailbox.txt.gz": "no mail",
    "bugmail-1.msf": "no mail",
    "mbox__symlink": "no mail",
    "size-2": "no mail",
    "cherry.mbox": "are no message",
    "endive.mbox": "are no message",
    "fig.mbox": "are no message",
}
TOTAL = 433
# The corpus split these only behind empty lines: so many of its pieces are two messages or more.
JOINED_IN_CORPUS = {"sample.mbox": 3, "test.mbox__INBOX": 2, "mailarc-1.txt": 1, "malformed.txt": 3}


@pytest.fixture
def read(tmp_path: Path) -> Callable[[Path], Read]:
    return lambda path: Read(path, tmp_path / "letters")


def files(*names: str) -> list[Path]:
    """The files below these directories of the corpus; none where it is absent, and then the tests are skipped."""
    return sorted(path for name in names for path in (FORMATS / name).rglob("*") if path.is_file())


def named(path: Path, table: dict[str, int] | dict[str, str]) -> str | None:
    """The name in the table that is the end of the file's."""
    return next((name for name in table if path.name == name or path.name.endswith(f"_{name}")), None)


def counted(path: Path) -> int:
    """How many messages Python's reader finds."""
    box = mailbox.mbox(path, create=False)
    try:
        return len(box)
    finally:
        box.close()


def served(found: Read) -> tuple[list[bytes], list[str]]:
    """What is served, and why the rest is not."""
    outcomes = play(found.session, *map(Fetch, found.refs))
    faults = [str(outcome.error) for outcome in outcomes if outcome.error is not None]
    return [octets_of(outcome.value) for outcome in outcomes if outcome.error is None], faults


def refusal(read: Callable[[Path], Read], path: Path) -> str:
    """Why nothing is read of a file."""
    try:
        _, (fault,) = served(read(path))
    except StoreError as error:
        return error.what
    return fault


def test_every_mbox_file_gives_its_messages(read: Callable[[Path], Read]) -> None:
    total, seen = 0, set()
    for path in files("mbox"):
        if (name := named(path, NO_MAIL)) is not None:
            seen.add(name)
            assert NO_MAIL[name] in refusal(read, path), name
            continue
        if (name := named(path, BY_EYE)) is not None:
            seen.add(name)
        messages, faults = served(read(path))
        assert len(messages) == (BY_EYE[name] if name else counted(path)), path.name
        assert faults == [], path.name
        assert all(messages), path.name
        total += len(messages)
    assert total == TOTAL
    assert seen == {*BY_EYE, *NO_MAIL}, "each is there"


def test_the_messages_are_those_that_the_corpus_holds(read: Callable[[Path], Read]) -> None:
    pieces = collections.defaultdict(list)
    for path in (CORPUS / "eml").rglob("*#*.eml"):
        project = path.parent.name.partition("__")[2]
        pieces[f"{project}__{path.name.rpartition('#')[0]}"].append(text(path.read_bytes()))
    compared = 0
    for path in files("mbox", "takeout"):
        if path.name in pieces and named(path, NO_MAIL) is None:
            found = set(map(text, read(path).octets()))
            missing = sum(piece not in found for piece in pieces[path.name])
            name = named(path, JOINED_IN_CORPUS)
            assert missing == (JOINED_IN_CORPUS[name] if name else 0), path.name
            compared += len(pieces[path.name]) - missing
    assert compared > 230


def text(octets: bytes) -> bytes:
    return lf(octets).rstrip(b"\r\n")


def test_dos_unix_and_compressed_forms_of_a_file_give_the_same_octets(read: Callable[[Path], Read]) -> None:
    def of(end: str) -> list[bytes]:
        (path,) = [path for path in files("mbox") if path.name.endswith(end)]
        return read(path).octets()

    assert of("mailarc-1-dos.txt") == of("mailarc-1.txt")
    assert of("INBOX.unix") == of("test.mbox__INBOX")
    for suffix in (".gz", ".bz2", ".xz", ".lz"):
        assert of("mailarc-2.txt" + suffix) == of("mailarc-2.txt"), suffix


def test_gmail_takeout_vault_and_gyb(read: Callable[[Path], Read]) -> None:
    found = read(FORMATS / "takeout")
    boxes = {name.rpartition("__")[2]: count for name, count in found.by_mailbox().items()}
    # grep -c '^X-GM-THRID' and '^From '; ls *.eml
    assert boxes == {"takeout": 39, "ubuntu_me@u.jaylee.us_0": 53, "": 10}
    assert sum(b"X-GM-THRID:" in message.header for message in found.messages()) == 39
    assert len(found.notices) == 3, "a database, XML and CSV"


def test_a_genuine_thunderbird_profile(read: Callable[[Path], Read]) -> None:
    found = read(FORMATS / "thunderbird" / "Mail" / "127.0.0-1.1")
    # grep -c '^From ', less those with X-Mozilla-Status 0008 and 0009.
    assert found.by_mailbox() == {"INBOX": 70 - 7, "INBOX/Kunden": 4, "Trash": 3}
    assert found.notices[0].startswith('"Inbox": messages that Thunderbird had deleted')
    assert "are left out: 7 (" in found.notices[0]
    lines = (FORMATS / "thunderbird" / "source-messages.tsv").read_text().splitlines()
    sources = {without_marks((CORPUS / line.split("\t")[1]).read_bytes()) for line in lines}
    # It quotes "From " and nobody can tell by which convention; so these few differ from what it was given.
    same = sum(without_marks(octets) in sources for octets in found.octets())
    quoted = sum(b"\n>From " in b"\n" + without_marks(octets) for octets in found.octets())
    assert (same, quoted) == (70 - 7, 7)


def without_marks(octets: bytes) -> bytes:
    """The message without the fields that Thunderbird wrote on top, or any field of these names."""
    return re.sub(rb"(?m)^(?:X-Account-Key|X-UIDL|X-Mozilla-[A-Za-z0-9]+):[^\n]*\n(?: [^\n]*\n)*", b"", text(octets))


def test_apple_mail(read: Callable[[Path], Read]) -> None:
    found = read(FORMATS / "emlx")
    messages, faults = served(found)
    assert len(messages) == 17, "ls Messages/*.emlx terhechte/*.emlx"
    # Three that were redacted, and four of broken1 to 3.
    assert sum("is missing" in notice for notice in found.notices) == 7, "a length or property list"
    assert len(found.notices) == 9
    assert sum("how its lines were broken is not known: part 2.6" in notice for notice in found.notices) == 2
    assert sum(octets.startswith(b"Subject: Re: Emlx library\r\n") for octets in messages) == 4
    # Of eight .partial.emlx two have all their parts in Attachments, and a third has its only one; two have none there;
    # and what stands there for the other three was made shorter by whoever published them.
    assert len(faults) == 5
    assert sum(fault.count("it is not in Attachments") for fault in faults) == 8
    assert sum("is not what was taken out, which had" in fault for fault in faults) == 3


def test_what_apple_mail_took_out_is_in_the_message_again(read: Callable[[Path], Read]) -> None:
    for number in ("114892", "114894", "465622"):
        ((octets,), faults) = served(read(FORMATS / "emlx" / "Messages" / f"{number}.partial.emlx"))
        assert faults == []
        assert b"X-Apple-Content-Length" not in octets
        payloads = [part.get_payload(decode=True) for part in email.message_from_bytes(octets).walk()]
        held = {lf(payload) for payload in payloads if isinstance(payload, bytes)}
        for path in (FORMATS / "emlx" / "Attachments" / number).rglob("*.*"):
            assert path.is_dir() or lf(path.read_bytes()) in held, path
    # Mail says how many octets each part had, encoded.
    whole = (FORMATS / "emlx" / "Messages" / "114892.partial.emlx").read_bytes()
    (octets,) = read(FORMATS / "emlx" / "Messages" / "114892.partial.emlx").octets()
    told = re.findall(rb"(X-Apple-Content-Length: ([0-9]+)\n)", whole)
    want = int(whole.split()[0]) + sum(int(size) - len(line) for line, size in told)
    assert len(lf(octets)) == want - 4, "but for four octets in the lines of quoted-printable"


def test_maildirs(read: Callable[[Path], Read]) -> None:
    # find -path '*/cur/*' -o -path '*/new/*', and what stands beside them; less hidden files.
    for name, boxes in MAILDIRS.items():
        found = read(FORMATS / "maildir" / name)
        messages, faults = served(found)
        assert found.by_mailbox() == boxes, name
        assert faults == [], name
        assert len(messages) == sum(boxes.values())


MAILDIRS = {
    "laminas-maildir.tar": {"": 5, "subfolder/test": 1},
    "mailpile": {"": 12},
    "mu-testdir": {"": 19},
    "mu-testdir2": {"Foo": 3, "bar": 8, "wom_bat": 3},
    "neomutt-odd-dirs": {},
    "notmuch-default": {"": 28, "bar": 6, "bar/baz": 7, "foo": 6, "foo/baz": 6},
    "stalwart-maildir++": {"": 2, "My Folder": 2, "My Folder/Nested Folder": 2},
}


def test_outlook_files_are_set_aside(read: Callable[[Path], Read]) -> None:
    for name in ("pst", "msg"):
        messages, faults = served(read(FORMATS / name))
        assert (messages, len(faults)) == ([], len(files(name)))
