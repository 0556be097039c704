"""What a look at the destination's copy says about a message, and how a message is set aside."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from ..errors import MessageError
from ..model import Checkpoint, Fingerprint, Message, Stage, display
from ..rules.dedupe import Digester
from ..rules.fidelity import compare

# Digests of a stored copy are compared in their settled form too: always computed.
settled_digester = partial(Digester, settle=True)

MISSING = MessageError(
    "the destination said OK but does not have it",
    hint="It is still at the source. Run the same command again; if it happens again, ask who runs the destination.",
)
DIFFERENT = MessageError(
    "the destination keeps other octets than it was sent",
    hint="It is still at the source. Compare the two copies; popferry never deletes a message that differs.",
)


def judge(row: Checkpoint, served: Fingerprint | None) -> tuple[str, ...] | MessageError:
    """The named changes (mostly none) of a copy that is the row's message, or why it is not."""
    assert row.fingerprint is not None
    if served is None:
        return MISSING
    fidelity = compare(row.fingerprint, served)
    if fidelity.is_same:
        return fidelity.changes
    # Another message altogether: the uid we were told was never ours.
    return DIFFERENT if served.key.index == row.fingerprint.key.index else MISSING


def is_anothers(copy: Fingerprint, row: Checkpoint, known: Iterable[Checkpoint]) -> bool:
    """Whether the copy is the message of another of these rows."""
    others = (one.fingerprint for one in known if one.id != row.id)
    return any(sent is not None and compare(sent, copy).is_same for sent in others)


def set_aside(row: Checkpoint, error: MessageError, message: Message | None, session: int | None) -> Checkpoint:
    """The row of a message that cannot go on, with the reason for people."""
    words = f' (server: "{display(error.said)}")' if error.said else ""
    return row._replace(
        stage=Stage.SET_ASIDE,
        # Where something else stands was never its place: whose that is must be free to claim it.
        uid_dest=None if error is MISSING else row.uid_dest,
        reason=display(error.what + words, 500),
        fingerprint=message.fingerprint if message else row.fingerprint,
        fetched_session=session if session is not None else row.fetched_session,
    )
