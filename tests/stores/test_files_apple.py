"""What Apple Mail took out of messages: put back octet for octet, or named where it cannot be."""

from __future__ import annotations

import base64
import gzip
import subprocess
import sys
from collections.abc import Callable
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import pytest

from migrate.commands import Fetch

from .contract import octets_of, play
from .files_rig import Read, emlx, lf
from .test_files import MEASURE


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A mailbox as Mail keeps it."""
    made = tmp_path / "Mail" / "Work.mbox" / "Data" / "1"
    (made / "Messages").mkdir(parents=True)
    return made


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Read]:
    return lambda path, **more: Read(path, tmp_path / "letters", **more)


def letter(*contents: bytes, number: int = 7) -> bytes:
    """A message with attachments, in base64."""
    mail = EmailMessage(SMTP)
    mail["Subject"] = f"{number}"
    mail.set_content("Text")
    for at, content in enumerate(contents):
        mail.add_attachment(content, maintype="image", subtype="png", filename=f"{at}.png")
    return mail.as_bytes()


def put(bundle: Path, octets: bytes, *contents: bytes, number: int = 7) -> Path:
    """Writes the message as Mail does that has taken its attachments out, and the files of them."""
    text = lf(octets)
    for part, content in enumerate(contents, 2):
        body = base64.encodebytes(content)
        assert body in text
        text = text.replace(b"\n\n" + body, b"\nX-Apple-Content-Length: %d\n\n" % len(body), 1)
        path = bundle / "Attachments" / str(number) / str(part) / f"{part}.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    path = bundle / "Messages" / f"{number}.partial.emlx"
    path.write_bytes(emlx(text, flags=1))
    return path


ONE, TWO = bytes(range(256)) * 40, b"x" * 57 * 3


def served(found: Read) -> tuple[list[bytes], list[str]]:
    outcomes = play(found.session, *map(Fetch, found.refs))
    faults = [str(outcome.error) for outcome in outcomes if outcome.error is not None]
    return [octets_of(outcome.value) for outcome in outcomes if outcome.error is None], faults


def test_what_was_taken_out_is_put_back_octet_for_octet(
    bundle: Path, read: Callable[..., Read], tmp_path: Path
) -> None:
    octets = letter(ONE, TWO)
    path = put(bundle, octets, ONE, TWO)
    for where in (tmp_path / "Mail", path):
        found = read(where)
        assert served(found) == ([octets], [])
        assert found.notices == []
        assert [ref.octets for ref in found.refs] == [len(octets)]
        assert str(found.messages()[0].flags) == "\\Seen"
    uids = [ref.uid for ref in read(tmp_path / "Mail").refs]
    path.unlink()
    path.with_name("7.emlx").write_bytes(emlx(octets, flags=1))
    assert [ref.uid for ref in read(tmp_path / "Mail").refs] == uids, "it is the message that Mail has whole elsewhere"


def test_parts_that_stand_beside_the_message_are_put_back(bundle: Path, read: Callable[..., Read]) -> None:
    octets = letter(ONE)
    path = put(bundle, octets, ONE)
    (bundle / "Attachments" / "7" / "2" / "2.png").unlink()
    (path.parent / "7.2.emlxpart").write_bytes(base64.encodebytes(ONE))
    (path.parent / "70.2.emlxpart").write_bytes(b"of another message")
    assert served(read(bundle)) == ([octets], [])


def test_each_part_that_is_missing_is_named_and_the_rest_is_put_back(bundle: Path, read: Callable[..., Read]) -> None:
    octets = letter(ONE, TWO)
    put(bundle, octets, ONE, TWO)
    path = bundle / "Attachments" / "7" / "3" / "3.png"
    stub = b"X-Apple-Content-Length: %d\r\n\r\n" % len(base64.encodebytes(TWO))
    want = octets.replace(b"\r\n" + base64.encodebytes(TWO).replace(b"\n", b"\r\n"), stub)
    for change in (lambda: path.write_bytes(TWO + b"edited"), path.unlink):
        change()
        messages, faults = served(read(bundle))
        assert messages == [want]
        (fault,) = faults
        assert "copied without what Mail took out of it: part 3 (" in fault
        assert ('3.png" is not what was taken out' if path.exists() else "it is not in Attachments") in fault


def test_several_files_for_a_part_are_tried(bundle: Path, read: Callable[..., Read]) -> None:
    octets = letter(ONE)
    put(bundle, octets, ONE)
    for name in ("0.png", "9.png", ".DS_Store"):
        (bundle / "Attachments" / "7" / "2" / name).write_bytes(b"another one")
    assert served(read(bundle)) == ([octets], [])


def test_an_attachment_is_not_unpacked_and_is_no_message_of_its_own(bundle: Path, read: Callable[..., Read]) -> None:
    content = gzip.compress(b"From ada Thu Feb 12 10:11:12 2015\nSubject: 2\n\nText\n")
    octets = letter(content)
    put(bundle, octets, content)
    assert served(read(bundle)) == ([octets], [])


def test_a_message_that_does_not_say_what_is_missing_is_copied_as_it_stands(
    bundle: Path, read: Callable[..., Read]
) -> None:
    (bundle / "Messages" / "7.partial.emlx").write_bytes(emlx(letter()))
    messages, faults = served(read(bundle))
    assert messages == [letter()]
    assert "does not say where" in faults[0]


def test_a_part_that_changes_between_listing_and_fetching_is_noticed(bundle: Path, read: Callable[..., Read]) -> None:
    octets = letter(ONE)
    put(bundle, octets, ONE)
    found = read(bundle)
    path = bundle / "Attachments" / "7" / "2" / "2.png"
    path.write_bytes(ONE[::-1])
    messages, faults = served(found)
    assert messages == []
    assert "changed while it was read" in faults[0]
    path.unlink()
    assert len(served(found)[1]) == 1


@pytest.mark.slow
def test_memory_does_not_grow_with_an_attachment(bundle: Path, tmp_path: Path) -> None:
    def peak_kib(mib: int) -> int:
        size = mib * 1024 * 1024
        text = (
            b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\nText\n--b\nContent-Transfer-Encoding: base64\n"
            b"X-Apple-Content-Length: %d\n\n\n--b--\n" % len(base64.encodebytes(b"x" * size))
        )
        (bundle / "Messages" / "7.partial.emlx").write_bytes(emlx(text))
        path = bundle / "Attachments" / "7" / "2" / "a.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
        command = [sys.executable, "-c", MEASURE, str(bundle), str(tmp_path)]
        return int(subprocess.run(command, check=True, capture_output=True).stdout)

    assert peak_kib(200) < peak_kib(1) + 20_000


def test_a_property_list_right_behind_the_last_line_is_found_by_the_length(
    bundle: Path, read: Callable[..., Read]
) -> None:
    octets = letter().removesuffix(b"\r\n")
    (bundle / "Messages" / "7.emlx").write_bytes(emlx(octets, flags=1))
    found = read(bundle)
    assert served(found) == ([octets], [])
    assert found.notices == []
