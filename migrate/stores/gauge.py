"""What one stored message measures: its header, its size as it will be served, and the digest that names it."""

from __future__ import annotations

import re
from hashlib import sha256

from ..model import BLOCK, HEADER_LIMIT
from ..wire.foreign import BOM, lasting
from ..wire.mbox import FROM
from .base import header_end

DIGEST_OCTETS = 16
_QUOTED = re.compile(rb"^>+From ", re.MULTILINE)
_BARE = re.compile(rb"^From ", re.MULTILINE)
_RUN_OCTETS = 64 * 1024


class Gauge:
    """Measures stored lines as they come, in blocks cut anywhere.

    The digest leaves out what changes while the message stays: fields that mail programs rewrite in the file, empty
    lines at the end, and how lines end. So a message keeps its name when it is read, when one comes behind it, and
    when its neighbours go.
    """

    def __init__(self) -> None:
        self.header = b""
        self.length = 0  # stored octets
        self.is_blank = True
        self.quoted_in_header = self.quoted = 0  # lines of header and body that begin with ">From ", or more ">"
        self.bare = 0  # lines of the body that begin with "From "
        self._has_header = False
        self._held = b""
        self._header_octets = 0
        self._body_octets = 0
        self._body_added = 0  # the CRs that its lines will get
        self._digest = sha256()
        self._run = b""  # line ends that may be the last ones
        self.tail = b""  # the last octets of the body, at most four

    def update(self, block: bytes) -> None:
        self.length += len(block)
        self.is_blank = self.is_blank and not block.removeprefix(BOM).strip()
        octets = self._held + block if self._held else block
        if not self._has_header:
            # One that begins with an empty line has no header.
            end = next((len(eol) for eol in (b"\n", b"\r\n") if octets.startswith(eol)), 0)
            end = end or header_end(octets, 0) or (HEADER_LIMIT if len(octets) >= HEADER_LIMIT else 0)
            if not end:
                self._held = octets
                return
            self._take_header(octets[:end])
            octets = octets[end:]
        cut = octets.rfind(b"\n") + 1 or (len(octets) if len(octets) > BLOCK else 0)
        self._take_body(octets[:cut])
        self._held = octets[cut:]

    def finish(self) -> None:
        """No more comes. From now on everything can be asked."""
        octets, self._held = self._held, b""
        if self._has_header:
            self._take_body(octets)
        else:
            self._take_header(octets)

    @property
    def empty_line(self) -> int:
        """The octets of the empty line at the end, which is of the format and not of the message; 0 without one."""
        if not self._body_octets:
            return 0  # the line that ends the header
        tail = b"\n" + self.tail if self._body_octets <= len(self.tail) else self.tail
        return 1 if tail.endswith(b"\n\n") else 2 if tail.endswith(b"\n\r\n") else 0

    @property
    def body(self) -> int:
        """Stored octets of the body, without that line."""
        return self._body_octets - self.empty_line

    @property
    def body_on_the_wire(self) -> int:
        """The same where every line ends in CRLF."""
        return self._body_octets + self._body_added - (2 if self.empty_line else 0)

    @property
    def octets(self) -> int:
        """How many octets will be served, that line among them; the fields that change are not counted."""
        return self._header_octets + self._body_octets + self._body_added

    @property
    def digest(self) -> bytes:
        return self._digest.digest()[:DIGEST_OCTETS]

    def _take_header(self, octets: bytes) -> None:
        self._has_header = True
        self.header = octets
        self.quoted_in_header = len(_QUOTED.findall(octets)) if FROM in octets else 0
        kept = lasting(octets)
        self._header_octets = len(kept) + self._feed(kept)

    def _take_body(self, octets: bytes) -> None:
        if not octets:
            return
        self._body_octets += len(octets)
        self.tail = (self.tail + octets[-4:])[-4:]
        if FROM in octets:
            self.quoted += len(_QUOTED.findall(octets))
            self.bare += len(_BARE.findall(octets))
        self._body_added += self._feed(octets)

    def _feed(self, octets: bytes) -> int:
        """How many CRs the lines will get."""
        text = octets.replace(b"\r\n", b"\n") if b"\r" in octets else octets
        added = text.count(b"\n") - (len(octets) - len(text))
        text = self._run + text
        end = len(text.rstrip(b"\n"))
        if len(text) - end > _RUN_OCTETS:
            end = len(text)
        self._digest.update(text[:end])
        self._run = text[end:]
        return added
