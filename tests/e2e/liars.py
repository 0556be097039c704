"""Destinations that lie, one way each: real servers do what these do, but not when a test asks them to."""

from __future__ import annotations

from tests.support.embedded.imap import ImapSession, No
from tests.support.embedded.session import Mail


class StoresNothing(ImapSession):
    """Says OK and where, and keeps nothing."""

    def do_append(self, tokens: list[bytes]) -> bytes:
        mailbox = self._find(tokens[0])
        answer = super().do_append(tokens)
        mailbox.mails.pop()
        return answer


class SaysNoUid(ImapSession):
    """Knows no UIDPLUS: OK, and not a word about where."""

    def do_capability(self, _: list[bytes]) -> None:
        self.send(b"* CAPABILITY IMAP4rev1 LITERAL+ NAMESPACE\r\n")

    def do_append(self, tokens: list[bytes]) -> bytes:
        super().do_append(tokens)
        return b""


class StoresNothingAndSaysNoUid(SaysNoUid, StoresNothing):
    """OK, nothing else, and nothing kept."""


SHUT = b"Shut"
POISON = b"the-one-that-suffers"


def is_poison(octets: bytes) -> bool:
    return POISON in octets


class Corrupts(ImapSession):
    """Flips one bit in the message at fault; its size stays."""

    def do_append(self, tokens: list[bytes]) -> bytes:
        if is_poison(tokens[-1]):
            tokens = [*tokens[:-1], tokens[-1][:-10] + bytes([tokens[-1][-10] ^ 1]) + tokens[-1][-9:]]
        return super().do_append(tokens)


class Truncates(ImapSession):
    """Keeps all but the last line of the message at fault."""

    def do_append(self, tokens: list[bytes]) -> bytes:
        if is_poison(tokens[-1]):
            tokens = [*tokens[:-1], tokens[-1].removesuffix(b"\r\n").rpartition(b"\r\n")[0] + b"\r\n"]
        return super().do_append(tokens)


class LosesLater(ImapSession):
    """Serves the message at fault back whole, once, and then has it no more."""

    def do_uid_fetch(self, tokens: list[bytes]) -> None:
        super().do_uid_fetch(tokens)
        if any(token.startswith(b"BODY.PEEK[]") for token in tokens):
            served = self._chosen(tokens[0])
            kept: list[Mail] = [m for m in self._mailbox.mails if m.uid not in served or not is_poison(m.octets)]
            self._mailbox.mails[:] = kept


class KeepsAFolderShut(ImapSession):
    """Names the folder in its list and lets nobody read it."""

    def do_examine(self, tokens: list[bytes]) -> bytes:
        if tokens[0] == SHUT:
            raise No("[NOPERM] it is not yours")
        return super().do_select(tokens)


class ListsOneTooFew(ImapSession):
    """Says how many messages there are and lists all but the last."""

    def _chosen(self, uid_set: bytes) -> set[int]:
        chosen = super()._chosen(uid_set)
        return chosen - {max(chosen, default=0)} if uid_set == b"1:*" else chosen
