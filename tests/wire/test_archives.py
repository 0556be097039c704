"""Headers of tar and zip archives: what they say, and what is none."""

from __future__ import annotations

import io
import tarfile
import zipfile
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.wire import tar
from migrate.wire import zip as zips


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_header_tells_name_size_time_and_kind(form: Literal[0, 1, 2]) -> None:
    info = tarfile.TarInfo("x" * 90 + "/" + "y" * 60 if form == tarfile.USTAR_FORMAT else "Mail/a")
    info.size, info.mtime = 0o1234567, 1_000_000_000
    header = tar.header_of(info.tobuf(form)[-512:])
    assert header is not None
    assert header.is_sound
    assert header.is_file
    assert (header.name.decode(), header.size, header.mtime) == (info.name, info.size, info.mtime)
    assert header.padded == 342_528


def test_numbers_that_octal_cannot_hold() -> None:
    assert tar.number_of(b"\x80" + (10**12).to_bytes(11, "big")) == 10**12
    assert tar.number_of(b"\xff" * 12) == -1
    assert tar.number_of(b"00000000644\0") == 0o644
    assert tar.number_of(b"   644 \0") == 0o644
    assert tar.number_of(b"\0" * 8) == 0
    assert tar.number_of(b"0000089") is None


def test_a_header_whose_checksum_is_wrong_is_a_guess_and_zeros_are_none() -> None:
    octets = tarfile.TarInfo("a.mbox").tobuf()
    assert tar.is_tar(octets)
    damaged = b"b" + octets[1:]
    header = tar.header_of(damaged)
    assert header is not None
    assert not header.is_sound
    assert tar.is_tar(damaged), "by its magic"
    assert not tar.is_tar(b"Subject: x\n\n" * 50)
    assert tar.header_of(b"\0" * 512) is None
    assert tar.header_of(octets[:511]) is None
    signed = bytearray(tarfile.TarInfo("é.mbox").tobuf(tarfile.USTAR_FORMAT))
    total = sum(signed[:148]) + 8 * 32 + sum(signed[156:]) - 2 * 256
    signed[148:156] = b"%06o\0 " % total
    assert tar.is_tar(bytes(signed)), "octets above 0x7F taken as signed, as old programs did"


def test_pax_fields() -> None:
    assert tar.pax_fields(b"12 path=a/b\n30 mtime=1000000000.123456789\n") == {
        b"path": b"a/b",
        b"mtime": b"1000000000.123456789",
    }
    assert tar.pax_fields(b"13 path=a\nb\n\n6 x=y\n") == {b"path": b"a\nb\n", b"x": b"y"}
    for wrong in (b"", b"x", b"99 path=a\n", b"3 path=a\n", b"9999999999 path=a\n", b"0 =\n"):
        assert tar.pax_fields(wrong) == {}


@given(st.binary(max_size=700))
def test_no_octets_make_a_header_fail(octets: bytes) -> None:
    tar.header_of(octets.ljust(512, b"\x01"))
    tar.pax_fields(octets)
    for form in (zips.CENTRAL, zips.LOCAL, zips.END, b"PK\x06\x06", b""):
        zips.entry_of(form + octets)
        zips.local_of(form + octets)
        zips.end64_of(form + octets, 0)
        if (end := zips.end_of(octets + form + octets, 5)) is not None:
            zips.end64_at(octets[:20], end)
    zips.name_text(octets, is_utf8=False)


def test_an_entry_tells_where_its_member_is() -> None:
    target = io.BytesIO(b"in front")
    target.seek(0, 2)
    with zipfile.ZipFile(target, "a") as archive:
        info = zipfile.ZipInfo("Mail/é.mbox")
        info.extra = b"UT\x05\x00\x01" + (10**9).to_bytes(4, "little")
        archive.writestr(info, b"x" * 1000, zipfile.ZIP_DEFLATED)
    octets = target.getvalue()
    end = zips.end_of(octets[-30:], len(octets) - 30)
    assert end is not None
    assert (end.entries, end.at) == (1, len(octets) - 22)
    entry = zips.entry_of(octets, end.at - end.size)
    assert entry is not None
    assert entry.offset is not None
    local = zips.local_of(octets[entry.offset :])
    assert local is not None
    assert (entry.name, entry.method, entry.size, entry.mtime) == ("Mail/é.mbox".encode(), 8, 1000, 10**9)
    assert (local.name, local.packed, local.crc) == (entry.name, entry.packed, entry.crc)
    assert octets[entry.offset :].startswith(zips.LOCAL)
    assert zips.entry_of(octets[end.at - end.size : -24]) is None, "it is not whole"


def test_names_without_a_charset_are_utf_8_or_of_dos() -> None:
    assert zips.name_text("é".encode(), is_utf8=False) == "é"
    assert zips.name_text(b"\x82", is_utf8=False) == "é"
    assert zips.name_text(b"\x82", is_utf8=True) == "\udc82"


def test_a_descriptor_is_told_from_data_by_the_size_in_it() -> None:
    local = zips.local_of(b"PK\x03\x04" + b"\x14\0\x08\0\0\0" + b"\0" * 20)
    assert local is not None
    assert local.is_described
    data = b"x" * 50
    told = b"PK\x07\x08" + (7).to_bytes(4, "little") + (50).to_bytes(4, "little") * 2
    room = data + told
    assert zips.described(local, room[-24:], len(room)).crc == 7
    assert zips.described(local, room[-24:], len(room) - 1) is local
    wide = data + b"PK\x07\x08" + (7).to_bytes(4, "little") + (50).to_bytes(8, "little") * 2
    assert zips.described(local, wide[-24:], len(wide)).packed == 50
