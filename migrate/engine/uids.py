"""Which uids of a mailbox this run was given, and the lowest one that can still come."""

from __future__ import annotations

SPAN = 1 << 27  # uids kept apart above the first: 16 MiB of bits at the most


class UidBook:
    """A set of uids, one bit each, that starts at the UIDNEXT of the mailbox."""

    def __init__(self, uidnext: int) -> None:
        self.uidnext = uidnext  # every message stored from now on has this uid or a higher one (RFC 3501 §2.3.1.1)
        self._base = uidnext
        self._bits = bytearray()

    def claim(self, uid: int) -> bool:
        """Takes a uid. False when it was given before, or cannot be a uid that was given now."""
        place = uid - self._base
        if not 0 <= place < SPAN:
            return False
        octet, bit = place >> 3, 1 << (place & 7)
        if octet >= len(self._bits):
            self._bits.extend(bytes(octet + 1024 - len(self._bits)))
        if self._bits[octet] & bit:
            return False
        self._bits[octet] |= bit
        return True

    def rise_above(self, uid: int) -> None:
        """The mailbox has a message of this uid: it was seen there, not only told of."""
        self.uidnext = max(self.uidnext, uid + 1)

    def holds(self, uid: int) -> bool:
        """Whether this uid was claimed."""
        octet, bit = (uid - self._base) >> 3, 1 << ((uid - self._base) & 7)
        return 0 <= octet < len(self._bits) and bool(self._bits[octet] & bit)
