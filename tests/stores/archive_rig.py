"""A tree with mail of every kind, and archives of it as programs make them."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from shutil import which

from .files_rig import ASCTIME, emlx, lzip, stored, zstd_compress

Tree = Mapping[str, bytes]
MTIME = 1_000_000_000


def letter(number: int, body: bytes = b"Text\r\n", more: bytes = b"") -> bytes:
    return b"Subject: %d\r\nMessage-ID: <%d@example.net>\r\n%b\r\n%b" % (number, number, more, body)


def mixed_tree() -> dict[str, bytes]:
    """Names and octets of files of many programs, among them such as belong together."""
    quoted = b"From ada@example.net %b\n%b\n" % (ASCTIME, letter(9, b">From you\r\n"))
    index = {"version": 3.1, "uid_validity": 5, "messages": [{"uid": 1, "offset": 0, "length": 99, "flags": ["Seen"]}]}
    taken = letter(10, b"--b\r\n\r\nText\r\n--b\r\nContent-Transfer-Encoding: base64\r\n", _MIXED)
    gap = b"X-Apple-Content-Length: 8\r\n\r\n\r\n--b--\r\n"
    return {
        "Takeout/Mail/All mail Including Spam and Trash.mbox": b"".join(stored(letter(one)) for one in range(3)),
        "Takeout/archive_browser.html": b"<html></html>",
        "Letters/a.eml": letter(3),
        "Letters/2026/12": letter(4),
        "Letters/old.mbox.gz": gzip.compress(stored(letter(5)), mtime=0),
        "Maildir/cur/1.a:2,RSa": letter(6),
        "Maildir/new/2.a": letter(7),
        "Maildir/.Sent.2026/cur/3.a:2,": letter(8),
        "Maildir/dovecot-keywords": b"0 blue\n",
        "imap/Work.mbox": quoted,
        "imap/Work.imap": json.dumps(index).encode(),
        "V2/In.mbox/Messages/7.partial.emlx": emlx(taken + gap),
        "V2/In.mbox/Attachments/7/2/a.txt": b"Hello",
        "Inbox.sbd/Entw\u00fcrfe": stored(letter(11)),
        "Mac/In": stored(letter(12)).replace(b"\n", b"\r"),
    }


_MIXED = b"Content-Type: multipart/mixed; boundary=b\r\n"
MESSAGES = 13


def on_disk(root: Path, tree: Tree) -> None:
    for name, octets in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(octets)
        os.utime(path, (MTIME, MTIME))


# --- archives, made by Python -----------------------------------------------------------------


class _Pipe(io.RawIOBase):
    """Takes octets, and cannot go back in them: sizes are then told behind the data."""

    def __init__(self) -> None:
        self.octets = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        octets = bytes(data)  # type: ignore[call-overload]
        self.octets += octets
        return len(octets)


def zipped(tree: Tree, method: int = zipfile.ZIP_DEFLATED, *, is_piped: bool = False, is_wide: bool = False) -> bytes:
    target = _Pipe() if is_piped else io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, octets in tree.items():
            info = zipfile.ZipInfo(name, (2001, 9, 9, 1, 46, 40))
            info.compress_type = method
            # Times in UTC, as Info-ZIP notes them.
            info.extra = b"UT\x05\x00\x01" + MTIME.to_bytes(4, "little")
            with archive.open(info, "w", force_zip64=is_wide) as member:
                member.write(octets)
    return bytes(target.octets) if isinstance(target, _Pipe) else target.getvalue()


def tarred(tree: Tree, form: int = tarfile.PAX_FORMAT) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=form) as archive:
        for name, octets in tree.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(octets), MTIME
            archive.addfile(info, io.BytesIO(octets))
    return target.getvalue()


Make = Callable[[Tree], bytes]

ARCHIVES: dict[str, Make] = {
    "stored.zip": lambda tree: zipped(tree, zipfile.ZIP_STORED),
    "deflated.zip": zipped,
    "bzip2.zip": lambda tree: zipped(tree, zipfile.ZIP_BZIP2),
    "piped.zip": lambda tree: zipped(tree, is_piped=True),
    "stored-piped.zip": lambda tree: zipped(tree, zipfile.ZIP_STORED, is_piped=True),
    "wide.zip": lambda tree: zipped(tree, is_wide=True),
    "self-extracting.zip": lambda tree: b"MZ\0\0" + b"program" * 100 + zipped(tree),
    "pax.tar": tarred,
    "gnu.tar": lambda tree: tarred(tree, tarfile.GNU_FORMAT),
    "ustar.tar": lambda tree: tarred(tree, tarfile.USTAR_FORMAT),
    "a.tar.gz": lambda tree: gzip.compress(tarred(tree)),
    "a.tgz": lambda tree: gzip.compress(tarred(tree)),
    "a.tar.bz2": lambda tree: bz2.compress(tarred(tree)),
    "a.tar.xz": lambda tree: lzma.compress(tarred(tree)),
    "a.tar.lz": lambda tree: lzip(tarred(tree)),
    "a.tar.zst": lambda tree: zstd_compress(tarred(tree)),
    "two.tar": lambda tree: tarred(dict([*tree.items()][:5])) + tarred(dict([*tree.items()][5:])),
}

# --- archives, made by programs ---------------------------------------------------------------

PROGRAMS: dict[str, list[str]] = {
    "infozip.zip": ["zip", "-q", "-r", "ARCHIVE", "."],
    "infozip-stored.zip": ["zip", "-q", "-0", "-r", "ARCHIVE", "."],
    "7zip.zip": ["7z", "a", "-bd", "-tzip", "ARCHIVE", "."],
    "bsd.zip": ["bsdtar", "-c", "-f", "ARCHIVE", "--format", "zip", "."],
    "gnu.tar": ["tar", "-c", "-f", "ARCHIVE", "."],
    "gnu-pax.tar": ["tar", "-c", "--format", "pax", "-f", "ARCHIVE", "."],
    "gnu-v7.tar": ["tar", "-c", "--format", "v7", "-f", "ARCHIVE", "."],
    "gnu.tar.gz": ["tar", "-c", "-z", "-f", "ARCHIVE", "."],
    "bsd.tar": ["bsdtar", "-c", "-f", "ARCHIVE", "."],
    "bsd-ustar.tar": ["bsdtar", "-c", "--format", "ustar", "-f", "ARCHIVE", "."],
}


def packed_by(words: list[str], root: Path, archive: Path) -> bool:
    """Whether the program is there and has made the archive of the tree."""
    if which(words[0]) is None:
        return False
    command = [str(archive) if word == "ARCHIVE" else word for word in words]
    subprocess.run(command, cwd=root, check=True, stdout=subprocess.DEVNULL)
    return True
