"""Which flags a message from a POP source gets: the marks other programs left in its header.

    Status, X-Status, X-Keywords         mbox programs and servers (UW, Dovecot, mutt)
    X-Mozilla-Status, -Status2, -Keys    Thunderbird
    X-Gmail-Labels                       Google Takeout

\\Deleted never comes from a header: it would make a mail vanish that its owner
moves because it is to be kept (Gmail acts on it at once), on the word of a mark
which may be stale or which a sender may have written. \\Recent is the server's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from ..model import SYSTEM_FLAGS, Flags, Mark, is_keyword
from ..wire.header import pick, text_of

KEYWORDS_MAX = 30
KEYWORD_OCTETS_MAX = 50  # Dovecot refuses longer ones (mail_max_keyword_length), and the message with them

_FIELDS = frozenset(
    b"status x-status x-keywords x-mozilla-status x-mozilla-status2 x-mozilla-keys x-gmail-labels".split()
)
_STATUS = {"R": "\\Seen", "r": "\\Answered"}  # O is "not recent"; r: mutt
_X_STATUS = {"A": "\\Answered", "r": "\\Answered", "F": "\\Flagged", "T": "\\Draft"}  # D is left out, see above
_MOZILLA = ((0x0001, "\\Seen"), (0x0002, "\\Answered"), (0x0004, "\\Flagged"), (0x1000, "$Forwarded"))
_MOZILLA2_MDN_SENT = 0x0080_0000
_MOZILLA2_LABEL_SHIFT = 25  # three bits: the old labels 1 to 5

# Gmail's own labels in the languages of its interface, case folded.
_UNREAD = (
    "unread|non lu|non lus|ungelesen|no leído|no leídos|sin leer|da leggere|non letto|non letti|non letta|non lette"
    "|ongelezen|não lido|não lida|não lidos|não lidas|por ler"
)
_GMAIL = {
    "\\Flagged": (
        "starred|suivi|suivis|messages suivis|markiert|destacado|destacados|speciale|speciali|con stella|met ster"
        "|sterren|com estrela|com asterisco"
    ),
    "\\Draft": (
        "draft|drafts|brouillon|brouillons|entwurf|entwürfe|borrador|borradores|bozza|bozze|concept|concepten"
        "|rascunho|rascunhos"
    ),
    "$Important": "important|importants|wichtig|importante|importantes|importanti|belangrijk",
}
_LABEL = re.compile(r'\s*(?:"([^"]*)"|([^,]*))\s*(?:,|$)')
_NOT_IN_KEYWORDS = re.compile(r"[^!#$&'+\-./0-9:;<=>?@A-Z^_`a-z|~,]")


def flags_of(header: bytes, mark: Mark) -> Flags:
    """The flags the message should have. ``mark`` overrules what the header says about \\Seen."""
    names: list[str] = []
    keywords: list[str] = []
    for field, value in pick(header, _FIELDS):
        _read_mark(field, value, names, keywords)
    found = Flags(frozenset(names) | _keywords(keywords)) if names or keywords else _NO_FLAGS
    return marked(found, mark)


_NO_FLAGS = Flags()


def marked(flags: Flags, mark: Mark) -> Flags:
    """The same flags, but for \\Seen where ``mark`` decides about it."""
    if mark is Mark.AUTO or (mark is Mark.SEEN) == ("\\Seen" in flags.names):
        return flags
    return Flags(flags.names | {"\\Seen"} if mark is Mark.SEEN else flags.names - {"\\Seen"})


def _read_mark(field: bytes, value: bytes, names: list[str], keywords: list[str]) -> None:
    """Adds what one field says to ``names`` (flags) and ``keywords`` (words, still unchecked)."""
    text = text_of(value)
    if field == b"status":
        names += [_STATUS[letter] for letter in text if letter in _STATUS]
    elif field == b"x-status":
        names += [_X_STATUS[letter] for letter in text if letter in _X_STATUS]
    elif field == b"x-mozilla-status":
        bits = _hex(text)
        found = [name for bit, name in _MOZILLA if bits & bit]
        names += [name for name in found if name[0] == "\\"]
        keywords += [name for name in found if name[0] != "\\"]
    elif field == b"x-mozilla-status2":
        bits = _hex(text)
        label = bits >> _MOZILLA2_LABEL_SHIFT & 7
        keywords += ["$MDNSent"] if bits & _MOZILLA2_MDN_SENT else []
        keywords += [f"$label{label}"] if 1 <= label <= 5 else []
    elif field == b"x-gmail-labels":
        labels = _labels(text)
        found = [name for name, words in _GMAIL.items() if not labels.isdisjoint(words.split("|"))]
        if labels.isdisjoint(_UNREAD.split("|")):
            names.append("\\Seen")
        names += [name for name in found if name[0] == "\\"]
        keywords += [name for name in found if name[0] != "\\"]
    else:
        keywords += text.split()


def _hex(text: str) -> int:
    """The number, 0 when it is none."""
    return int(text, 16) if re.fullmatch(r"[0-9A-Fa-f]{1,8}", text) else 0


def _labels(text: str) -> frozenset[str]:
    """The labels, case folded. One in quotes may hold commas. The user's own say where, not how: no flags."""
    return frozenset((quoted or plain).strip().casefold() for quoted, plain in _LABEL.findall(text))


def _keywords(words: Iterable[str]) -> frozenset[str]:
    """Those that can be keywords, the first spelling of each, at most KEYWORDS_MAX."""
    found: dict[str, str] = {}
    for word in words:
        # A backslash would begin a system flag: those come from marks, never from lists of words.
        if word.startswith("\\"):
            continue
        atom = _NOT_IN_KEYWORDS.sub("_", word)
        if atom.strip("_") and len(atom) <= KEYWORD_OCTETS_MAX and is_keyword(atom):
            found.setdefault(atom.casefold(), atom)
        if len(found) == KEYWORDS_MAX:
            break
    return frozenset(found.values())


@lru_cache(maxsize=256)  # few different ones, asked for every message
def admitted(flags: Flags, permanent_flags: frozenset[str]) -> Flags:
    """Those flags that the mailbox keeps. Without PERMANENTFLAGS it keeps all system flags (RFC 3501 §7.1)."""
    if not permanent_flags:
        return Flags(flags.names & frozenset(SYSTEM_FLAGS))
    kept = {flag.casefold() for flag in permanent_flags}
    takes_new = "\\*" in kept
    return Flags(frozenset(name for name in flags.names if name.casefold() in kept or (takes_new and name[0] != "\\")))
