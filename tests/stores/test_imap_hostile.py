"""Whatever a server sends after the login: a value or a declared error, and never a foreign exception."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from migrate.commands import Append, CloseDest, FetchHeaders, OpenDest, OpenMailbox, ReadBack, SearchUids
from migrate.errors import MigrateError
from migrate.model import INBOX, MailboxName, Secret
from migrate.stores.imap import ImapAppender
from tests.fakes.imap_script import Clock, Script, ScriptChannel, play, to_script

from .imap_rig import LOGIN, PASSWORD, SELECT, Sha, endpoint, letter

PIECES = [
    "* 1 FETCH (UID 1 RFC822.SIZE 3 BODY[] {3}\r\nabc)\r\n",
    "* 1 FETCH (UID 2 BODY[HEADER.FIELDS (A)] {2}\r\nA:)\r\n",
    "* 2 FETCH (UID 1 RFC822.SIZE 3000000)\r\n",
    "* 2 FETCH (UID 1 BODY[]<0> {3}\r\nabc)\r\n",
    "* 2 FETCH (UID 2 RFC822.SIZE 3 BODY[]<0> {3}\r\nabc)\r\n",
    "* SEARCH 1 2 3\r\n",
    "* SEARCH x\r\n",
    "* 5 EXISTS\r\n",
    "* OK [ALERT] look\r\n",
    "* BYE\r\n",
    "+ go\r\n",
    "+\r\n",
    "* 1 FETCH (BODY[] {",
    "99}\r\n",
    "))\r\n",
    "\r\n",
    "[OVERQUOTA]",
    " NO [TRYCREATE] x\r\n",
    '* LIST () "/" A\r\n',
    "* LIST (5 ((",
    *(f"P{number} {words}\r\n" for number in range(1, 7) for words in ("OK", "OK [APPENDUID 7 10] x", "NO no", "BAD")),
]


class Babbler(Script):
    """A server that, the login done, answers every command with the next of its pieces."""

    def __init__(self, text: str, pieces: list[bytes]) -> None:
        super().__init__(text)
        self._pieces = pieces

    def feed(self, octets: bytes) -> bytes:
        if self._steps:
            return super().feed(octets)
        said = b"".join(self._pieces[:3])
        self._pieces = self._pieces[3:]
        self.has_ended = not self._pieces
        return said


@given(
    st.lists(st.one_of(st.sampled_from(PIECES).map(str.encode), st.binary(max_size=12)), max_size=30),
    st.sampled_from(["", "LITERAL-", "MULTIAPPEND LITERAL+"]),
    st.sampled_from([1, 5, 1 << 20]),
)
def test_any_octets_end_every_command_with_a_value_or_a_declared_error(
    pieces: list[bytes], capabilities: str, piece: int
) -> None:
    clock = Clock()
    channel = ScriptChannel(Babbler(LOGIN % capabilities + SELECT, pieces), clock, piece=piece)
    session = ImapAppender(
        endpoint(),
        Secret(PASSWORD),
        connect=to_script(channel),
        clock=clock,
        tag_prefix=b"P",
        trace=lambda who, line: None,
    )
    commands = [
        OpenDest(0),
        OpenMailbox(0, INBOX, create=True),
        Append(0, INBOX, (letter(b"A: 1\r\n\r\n"), letter(b"x" * 5000))),
        SearchUids(0, INBOX, 1),
        FetchHeaders(0, INBOX, [1, 2], ("A",)),
        ReadBack(0, INBOX, [1, 2], Sha),
        OpenMailbox(0, MailboxName(("A",)), create=True),
        CloseDest(0),
    ]

    def pass_time() -> None:
        clock.now_s += 30

    outcomes = play(session, *commands, idle=pass_time)
    assert [outcome.command for outcome in outcomes] == commands
    assert outcomes[0].error is None
    assert all(outcome.error is None or isinstance(outcome.error, MigrateError) for outcome in outcomes)
    assert outcomes[-1].error is None
    session.close()
