"""Whether what a destination serves is what it was sent, and what it changed.

Equal octets are the same. Other octets are the same only where the message
sent was not clean (``Fingerprint.settled``) and the difference is of a kind
that its own oddities explain: a NUL became 0x80, a bare LF became CRLF, a
bare CR went away, a missing final line end was added. Where the header has
8-bit octets, a copy with X for every one of them is the same too, if no other
octet of the message is another (``Fingerprint.munged``): a server that does this
does nothing else. A clean message has to come back as it is. ``settled`` alone
would admit more (a CR or a final line end taken from where nothing was odd), so
the oddities and the sizes must agree too. What is left undecided: in a message
with several odd octets of one kind, which of them were changed.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..model import Fingerprint, Oddity

_MENDED = (Oddity.NUL, Oddity.BARE_LF, Oddity.BARE_CR, Oddity.NO_FINAL_EOL)

NUL_AS_80 = "NUL octets stored as 0x80"
LF_AS_CRLF = "bare LF stored as CRLF"
CR_DROPPED = "bare CR dropped or stored otherwise"
EOL_ADDED = "final line end added"
MUNGED = "8-bit octets of the header stored as X"


@dataclass(frozen=True, slots=True)
class Fidelity:
    """``is_same`` with no ``changes``: octet for octet. The changes are parts of sentences for people."""

    is_same: bool
    changes: tuple[str, ...] = ()


_DIFFERENT = Fidelity(is_same=False)
_EXACT = Fidelity(is_same=True)
_MUNGED = Fidelity(is_same=True, changes=(MUNGED,))


def compare(sent: Fingerprint, served: Fingerprint) -> Fidelity:
    """What the server did to the message. ``served`` was made with ``Digester(settle=True)``
    if ``sent`` has a settled form."""
    if sent.exact == served.exact:
        return _EXACT
    if sent.munged is not None and sent.munged == served.exact:
        return _MUNGED
    if sent.settled is None or sent.settled != served.settled:
        return _DIFFERENT
    if any(oddity in served.oddities and oddity not in sent.oddities for oddity in _MENDED):
        # No server is known to bring a NUL, a bare CR or LF in, or to take the final line end away.
        return _DIFFERENT
    growth = served.octets - sent.octets
    if not _explains(sent, served, growth):
        return _DIFFERENT
    changes = _changes(sent, served, growth)
    return Fidelity(is_same=True, changes=changes) if changes else _DIFFERENT


def _lost(oddity: Oddity, sent: Fingerprint, served: Fingerprint) -> bool:
    return oddity in sent.oddities and oddity not in served.oddities


def _explains(sent: Fingerprint, served: Fingerprint, growth: int) -> bool:
    """Whether the oddities of the message sent account for so many octets more (or fewer)."""
    eol = 2 if _lost(Oddity.NO_FINAL_EOL, sent, served) else 0
    most = eol + (sent.octets if Oddity.BARE_LF in sent.oddities else 0)
    least = -sent.octets if Oddity.BARE_CR in sent.oddities else eol
    return least <= growth <= most


def _changes(sent: Fingerprint, served: Fingerprint, growth: int) -> tuple[str, ...]:
    """The changes by name. Where some odd octets were kept and some not, the size tells."""
    has_bare_cr = Oddity.BARE_CR in sent.oddities
    # A bare CR at the very end can go away too, and a line end is what then stands last.
    is_eol_added = _lost(Oddity.NO_FINAL_EOL, sent, served) and (growth > 0 or not has_bare_cr)
    has_grown = growth > (2 if is_eol_added else 0)
    changes = []
    if _lost(Oddity.NUL, sent, served):
        changes.append(NUL_AS_80)
    if _lost(Oddity.BARE_LF, sent, served) or (Oddity.BARE_LF in sent.oddities and has_grown):
        changes.append(LF_AS_CRLF)
    if is_eol_added:
        changes.append(EOL_ADDED)
    if _lost(Oddity.BARE_CR, sent, served) or (has_bare_cr and (growth < 0 or not changes)):
        changes.append(CR_DROPPED)
    return tuple(changes)
