"""A password in every form in which it might be seen, and the search for it."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

# Each has a core that no part of the program knows, and octets that every encoding writes differently.
SOURCE = 'cnry-Src&9"x\\7/%+Q'
DEST = "cnry-Dst;4'y#8?=@W"
# Dovecot's configuration takes only plain letters.
REAL = "cnry-Rea.5_Kq"


def forms(password: str) -> set[bytes]:
    """What must be found nowhere: its core and every encoding of it, also inside a longer encoded text."""
    octets = password.encode()
    core = octets[:8]
    found = {core, octets, repr(password)[1:-1].encode(), password.replace("\\", "\\\\").replace('"', '\\"').encode()}
    found |= {quote(password, safe="").encode(), quote_plus(password).encode()}
    for part in (core, octets):
        found |= {part.hex().encode(), part.hex().upper().encode(), part.hex(" ").encode(), part.hex(":").encode()}
        found |= set(_in_base64(part))
    return found


def _in_base64(octets: bytes) -> Iterator[bytes]:
    """The characters that stand for the octets in base64, wherever in a text they begin (SASL PLAIN, say)."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + octets)
        # The first and the last characters also depend on what stands around.
        yield encoded[(0, 2, 3)[before] : -4 if encoded.endswith(b"=") else None]


FORMS = {form: password for password in (SOURCE, DEST, REAL) for form in forms(password)}


def leaks(octets: bytes, where: str) -> Iterable[str]:
    """One line for each form of a canary in the octets, with what stands around it."""
    for form, password in FORMS.items():
        at = octets.find(form)
        if at >= 0:
            yield f"{password!r} as {form!r} in {where}: {octets[max(0, at - 80) : at + 80]!r}"


def leaks_below(directory: Path, *texts: object) -> list[str]:
    """The leaks in every file below the directory, and in the texts."""
    found = [line for path in directory.rglob("*") if path.is_file() for line in leaks(path.read_bytes(), path.name)]
    return found + [line for text in texts for line in leaks(repr(text).encode(), "what it told")]


def echoes(user: str, password: str) -> str:
    """What a careless server may say: the password in many forms, in one line."""
    octets, sasl = password.encode(), f"\0{user}\0{password}".encode()
    texts = [password, quote(password, safe=""), octets.hex(), octets.hex().upper()]
    texts += [base64.b64encode(one).decode() for one in (octets, sasl)]
    return " ".join([*texts, texts[-1].rstrip("=")])
