"""Status and response code -> AppendUid, or an error of the right reach (RFC 5530, RFC 4315, RFC 7889).

A refusal reaches as far as its cause: one message (too big, malformed), the
whole store for now (throttled, busy), the whole store until somebody acts
(quota, rights). Codes decide where there are any, words where there are none.
"""

from __future__ import annotations

import re
from itertools import pairwise

from ...errors import Cause, MessageError, Retry, StoreError
from ...model import AppendUid
from .fetch import UID_MAX
from .reader import Status, Tagged

# Seen: "Request is throttled. Suggested Backoff Time: N milliseconds" and "Server Unavailable. 15" (Exchange),
# "Rate limit hit." (Yahoo), "Too many simultaneous connections. (Failure)", "Account exceeded command or
# bandwidth limits." (Gmail), "authenticated but not connected" (Exchange), "Please try again later" (Yahoo),
# "Maximum number of connections from user+IP exceeded" (Dovecot).
_BUSY = re.compile(
    rb"throttl|back-?off|rate limit|bandwidth|too many \w* ?(?:connections|requests|commands|sessions|logins)"
    rb"|maximum number of connections"
    rb"|try again|temporar|server unavailable|but not connected",
    re.IGNORECASE,
)
_BACKOFF = re.compile(rb"back-?off time:? *([0-9]{1,7}) *(?:ms|milliseconds)", re.IGNORECASE)
_BUSY_CODES = frozenset({b"UNAVAILABLE", b"INUSE", b"LIMIT", b"SERVERBUG", b"CONTACTADMIN", b"MESSAGELIMIT"})
_LOGIN_CODES = frozenset({b"AUTHENTICATIONFAILED", b"AUTHORIZATIONFAILED", b"EXPIRED", b"PRIVACYREQUIRED"})
# Seen: "[SERVERBUG] Internal error occurred. Refer to server log for more information." (Dovecot 2.3.19), of one
# message whose file it cannot read.
_CODES_OF_ONE = frozenset({b"SERVERBUG", b"CONTACTADMIN"})
# Seen: "Your quota has been exceeded." (hMailServer), "Quota exceeded (mailbox for user is full)" (Dovecot).
_FULL = re.compile(rb"quota|mailbox (?:for user )?is full|not enough space|no space left", re.IGNORECASE)
_TOO_BIG = re.compile(rb"too (?:big|large)|maximum size|size limit|message size", re.IGNORECASE)
_KEYWORDS = re.compile(rb"flag|keyword", re.IGNORECASE)
_UIDS = re.compile(rb"([0-9]{1,10}) ([0-9:,]+)\Z")


def is_busy(status: Status) -> bool:
    """Whether the server means: not now."""
    if status.code == b"LIMIT" and (_KEYWORDS.search(status.text) or _TOO_BIG.search(status.text)):
        # Waiting will not help. Seen: Cyrus, when a mailbox holds its 128 keywords; Dovecot, to one large message:
        # "Mail size is larger than the maximum size allowed by server configuration".
        return False
    return status.code in _BUSY_CODES or bool(_BUSY.search(status.text))


def reaches_all(status: Status) -> bool:
    """Whether a NO or BAD to a question about one message says something about every other one too."""
    return status.code in _LOGIN_CODES or (is_busy(status) and status.code not in _CODES_OF_ONE)


def busy(status: Status) -> StoreError:
    """The error for a server that asks us to come back later."""
    error = StoreError(
        "the IMAP server asks to slow down or come back later",
        cause=Cause.UNREACHABLE,
        retry=Retry.LATER,
        said=status.said,
        hint="Wait a while, then run the same command again; fewer --connections may help.",
    )
    if asked := _BACKOFF.search(status.text):
        error.wait_s = int(asked[1]) / 1000
    return error


def said_goodbye(status: Status) -> StoreError:
    """The error for BYE."""
    if is_busy(status) or status.code == b"OVERQUOTA":
        return busy(status)
    return StoreError("the IMAP server closed the connection", said=status.said)


def refusal(answer: Tagged, octets: int | None = None) -> MessageError | StoreError:
    """The error for a NO or BAD. ``octets`` is the size of the one message it was about, if it was."""
    if is_busy(answer):
        return busy(answer)
    if answer.code == b"OVERQUOTA" or (not answer.code and _FULL.search(answer.text)):
        return StoreError(
            "the destination is full",
            cause=Cause.FULL,
            retry=Retry.LATER,
            said=answer.said,
            hint="Make room at the destination or get a larger quota, then run the same command again.",
        )
    if answer.code == b"TRYCREATE":
        return StoreError("the destination folder is not there any more", said=answer.said)
    if answer.code in _LOGIN_CODES:
        return StoreError("the IMAP server wants a new login", said=answer.said)
    if answer.code == b"NOPERM":
        return StoreError(
            "this account may not store messages in the destination folder",
            cause=Cause.UNUSABLE,
            retry=Retry.NEVER,
            said=answer.said,
            hint="Choose another folder with --folder, or have the rights changed.",
        )
    return _refused_message(answer, octets)


def _refused_message(answer: Tagged, octets: int | None) -> MessageError:
    which = "the messages" if octets is None else f"a message of {octets} octets"
    if octets == 0:
        return MessageError("the destination refused an empty message (0 octets)", said=answer.said)
    if answer.code in (b"TOOBIG", b"BIGMSG") or _TOO_BIG.search(answer.text):
        return MessageError(
            f"the destination refused {which} as too large",
            said=answer.said,
            hint="Raise the size limit at the destination, or fetch this message another way.",
        )
    return MessageError(
        f"the destination refused {which}",
        said=answer.said,
        hint="It stays at the source. If the next run ends the same way, fetch this message another way.",
    )


def append_uids(answer: Tagged, count: int, uidvalidity: int, floor: int) -> tuple[AppendUid, ...] | None:
    """Where ``count`` messages were stored, in their order; None where APPENDUID makes no sense.

    It makes sense when it names as many uids, ascending, none below ``floor``,
    under the mailbox's ``uidvalidity`` (0: not known). RFC 4315 §3, RFC 3502 §6.3.11.
    """
    match = _UIDS.match(answer.args)
    if not match:
        return None
    validity = int(match[1])
    if not 1 <= validity <= UID_MAX or uidvalidity not in (0, validity):
        return None
    uids: list[int] = []
    for part in match[2].split(b","):
        ends = part.split(b":")
        if len(ends) > 2 or not all(0 < len(end) <= 10 for end in ends):
            return None
        low, high = sorted((int(ends[0]), int(ends[-1])))
        if high - low >= count:
            return None
        uids.extend(range(low, high + 1))
    ascending = all(one < other for one, other in pairwise(uids))
    if len(uids) != count or not ascending or uids[0] < max(1, floor) or uids[-1] > UID_MAX:
        return None
    return tuple(AppendUid(validity, uid) for uid in uids)
