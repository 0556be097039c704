"""Mail files as other programs write them, made here, and sessions that read them."""

from __future__ import annotations

import lzma
import mailbox
import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from migrate.commands import Fetch, ListSource, OpenSource
from migrate.model import Message, MessageRef
from migrate.rules.dedupe import Digester
from migrate.stores.base import Session
from migrate.stores.files import FilesReader
from migrate.stores.zstd import zstd

from .contract import octets_of, value

ASCTIME = b"Thu Feb 12 10:11:12 2015"


def lf(octets: bytes) -> bytes:
    """The octets as a UNIX program writes them."""
    return octets.replace(b"\r\n", b"\n")


def crlf(octets: bytes) -> bytes:
    """The octets as mail has them."""
    return lf(octets).replace(b"\n", b"\r\n")


def stored(octets: bytes, line: bytes = b"From ada@example.net " + ASCTIME, *, quote: str = "") -> bytes:
    """A message as it stands in an mbox file, quoted as mboxo or mboxrd or not at all."""
    text = lf(octets)
    if quote:
        text = re.sub(rb"(?m)^(>*From )" if quote == "mboxrd" else rb"(?m)^(From )", rb">\1", text)
    return line + b"\n" + text + (b"\n" if text.endswith(b"\n") else b"\n\n")


def emlx(octets: bytes, *, flags: int = 0, received: int = 0, count: int | None = None) -> bytes:
    """A message as Apple Mail keeps it."""
    text = lf(octets)
    plist = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" '
        '"http://www.apple.com/DTDs/PropertyList-1.0.dtd">\n<plist version="1.0">\n<dict>\n'
        f"\t<key>date-received</key>\n\t<integer>{received}</integer>\n"
        f"\t<key>flags</key>\n\t<integer>{flags}</integer>\n</dict>\n</plist>\n"
    )
    return b"%-10d\n" % (len(text) if count is None else count) + text + plist.encode()


def lzip(octets: bytes) -> bytes:
    """The octets as the program lzip packs them."""
    options = {"id": lzma.FILTER_LZMA1, "dict_size": 1 << 20, "lc": 3, "lp": 0, "pb": 2}
    packed = lzma.compress(octets, lzma.FORMAT_RAW, filters=[options])
    trailer = struct.pack("<IQQ", zlib.crc32(octets), len(octets), len(packed) + 26)
    return b"LZIP\x01\x14" + packed + trailer


def zstd_compress(octets: bytes) -> bytes:
    library = zstd()
    packed: bytes = library.compress(octets, options={library.CompressionParameter.checksum_flag: 1})
    return packed


class Read:
    """Everything that a session lists and serves of a path."""

    def __init__(self, root: Path, spill: Path, **more: Any) -> None:
        spill.mkdir(exist_ok=True)
        self.session = FilesReader(root, Digester, spill, **more)
        self.facts = value(self.session, OpenSource())
        self.refs: list[MessageRef] = list(value(self.session, ListSource()))
        self.notices = [text for text, _ in self.session.notices]

    def messages(self) -> list[Message]:
        return [value(self.session, Fetch(ref)) for ref in self.refs]

    def octets(self) -> list[bytes]:
        return [octets_of(message) for message in self.messages()]

    def by_mailbox(self) -> dict[str, int]:
        """How many messages each mailbox has; "" where only the person can know."""
        found: dict[str, int] = {}
        for message in self.messages():
            name = str(message.mailbox or "")
            found[name] = found.get(name, 0) + 1
        return found


class MboxFileSource:
    """One mbox file of a program that quotes as public-inbox does, which says so in its From_ lines."""

    def __init__(self, scratch: Path) -> None:
        self.path = scratch / "old"
        self.path.write_bytes(b"")
        self.spill_dir = scratch / "letters"
        self.spill_dir.mkdir()

    def load(self, messages: Sequence[bytes]) -> None:
        with self.path.open("ab") as stream:
            for octets in messages:
                stream.write(stored(octets, b"From mboxrd@z " + ASCTIME, quote="mboxrd"))

    def served(self, octets: bytes) -> bytes:
        text = lf(octets)  # "\r\r\n" has become "\r\n", which nobody can tell
        text = text if text.endswith(b"\n") else text + b"\n"
        # The empty line of the format is all that ends a header without a body.
        return crlf(text if b"\n\n" in b"\n" + text else text + b"\n")

    def held(self) -> list[bytes]:
        """By Python's own reader, which undoes no quoting."""
        box = mailbox.mbox(self.path, create=False)
        try:
            texts = [box.get_bytes(key) for key in sorted(box.keys())]
        finally:
            box.close()
        return [crlf(re.sub(rb"(?m)^>(>*From )", rb"\1", text)) for text in texts]

    def reader(self) -> Session:
        return FilesReader(self.path, Digester, self.spill_dir)

    def cut(self) -> None:
        self.path.rename(self.path.with_name("elsewhere"))


class LettersSource:
    """A directory of .eml files."""

    def __init__(self, scratch: Path) -> None:
        self.root = scratch / "letters-of-ada"
        self.root.mkdir()
        self.spill_dir = scratch / "letters"
        self.spill_dir.mkdir()

    def load(self, messages: Sequence[bytes]) -> None:
        there = len(list(self.root.iterdir()))
        for number, octets in enumerate(messages, there):
            (self.root / f"{number:06}.eml").write_bytes(octets)

    def served(self, octets: bytes) -> bytes:
        if octets.startswith(b"From "):
            octets = octets.partition(b"\n")[2]  # of the mbox file that it was saved from
        return crlf(octets)

    def held(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted(self.root.iterdir())]

    def reader(self) -> Session:
        return FilesReader(self.root, Digester, self.spill_dir)

    def cut(self) -> None:
        self.root.rename(self.root.with_name("elsewhere"))
