"""0, 3 and 22: a run that came to its end, one that set messages aside, and a destination without room."""

from __future__ import annotations

import pytest

from ..support.dovecot import Dovecot
from ..support.embedded.session import ServerSession
from .conftest import FIVE, MakeEnds, Popferry, mail
from .servers import ImapDying, Pop3Dying, WelcomingImap, WelcomingPop3, holding, imap_refusing, retr_refused

NEXT_RUN = "The next run tries what was set aside again."


@pytest.mark.dovecot
@pytest.mark.parametrize("manner", [(), ("--json",), ("-q",)], ids=["talk", "json", "quiet"])
def test_a_run_that_accounts_for_everything_is_0(
    manner: tuple[str, ...], real: Dovecot, user: str, popferry: Popferry
) -> None:
    popferry.environment |= {"SSL_CERT_FILE": str(real.ca_file), "PF_SOURCE": real.password, "PF_DEST": real.password}
    real.deliver_many(user, FIVE)
    words = f"pop3://{user}@localhost:{real.pop3_port}", f"imap://new-{user}@localhost:{real.imap_port}/Old"
    ran = popferry.migrate(*words, *manner)
    ran.told(0)
    assert sorted(one.octets for one in real.stored(f"new-{user}", "Old")) == FIVE
    if manner == ("-q",):
        assert ran.out + ran.err == ""
    elif manner == ("--json",):
        assert next(event for event in ran.events if event["event"] == "finished")["tally"]["copied"] == 5
    else:
        assert "Everything is accounted for." in ran.out
    popferry.run("status", "--state", str(popferry.state)).told(0)


def test_servers_that_welcome_with_the_password_leave_it_nowhere(ends: MakeEnds, popferry: Popferry) -> None:
    both = ends(pop3=WelcomingPop3, imap=WelcomingImap)
    both.deliver(*FIVE)
    popferry.migrate(*both.words).told(0)


REFUSED: dict[str, tuple[dict[str, type[ServerSession]], list[str]]] = {
    "too large for the destination": (
        {"imap": imap_refusing("append", "[TOOBIG] message exceeds 10 octets", lambda tokens: b"poison" in tokens[-1])},
        ["The destination refused a message of", "as too large", "[TOOBIG]", "Raise the size limit"],
    ),
    "larger than a limit of the destination": (
        {
            "imap": imap_refusing(
                "append",
                "[LIMIT] Mail size is larger than the maximum size allowed by server configuration",
                lambda tokens: b"poison" in tokens[-1],
            )
        },
        ["The destination refused a message of", "as too large", "[LIMIT]"],
    ),
    "refused by the destination": (
        {"imap": imap_refusing("append", "bad \x1b[31m header", lambda tokens: b"poison" in tokens[-1])},
        ["The destination refused a message of", r"NO bad \x1b[31m header", "It stays at the source."],
    ),
    "refused by the source": (
        {"pop3": retr_refused("3", b"-ERR message is \x1b[31m corrupt")},
        [
            "The POP3 server did not hand out the message",
            r"-ERR message is \x1b[31m corrupt",
            "It stays at the source.",
        ],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_message_that_cannot_go_on_is_set_aside_and_3(case: str, ends: MakeEnds, popferry: Popferry) -> None:
    kinds, essence = REFUSED[case]
    both = ends(**kinds)
    messages = [*FIVE[:2], mail(3, "poison"), *FIVE[3:]]
    both.deliver(*messages)
    ran = popferry.migrate(*both.words)
    ran.told(3, "Message 3 (UIDL", "set aside.", NEXT_RUN, *essence)
    assert "4  copied" in ran.out
    assert "1  set aside" in ran.out
    both.check_complete(*messages[:2], *messages[3:])
    status = popferry.run("status", "--state", str(popferry.state))
    assert "message 3 (UIDL" in status.out


def test_what_was_set_aside_is_tried_again_by_the_next_run(ends: MakeEnds, popferry: Popferry) -> None:
    switch = holding("poison")
    both = ends(imap=switch)
    both.deliver(*FIVE, mail(6, "poison"))
    popferry.migrate(*both.words).told(3)
    switch.poison = b"nothing"
    popferry.migrate(*both.words).told(0)
    both.check_complete(*FIVE, mail(6, "poison"))


def test_a_full_destination_is_22_and_goes_on_when_there_is_room(ends: MakeEnds, popferry: Popferry) -> None:
    kind = holding("is message 4", "[OVERQUOTA] Quota exceeded (mailbox for user is full)")
    both = ends(imap=kind)
    both.deliver(*FIVE)
    ran = popferry.migrate(*both.words)
    ran.told(22, "Destination: the destination is full.", "Quota exceeded", "Make room at the destination")
    ran.told(22, "Nothing is lost. When there is room again, run the same command to continue.")
    assert "still open" in ran.out
    kind.poison = b"nothing"
    popferry.migrate(*both.words).told(0)
    both.check_complete(*FIVE)


# --- a message at which the connection ends -----------------------------------------------------

DYING: dict[str, dict[str, type[ServerSession]]] = {
    "POP3 source": {"pop3": Pop3Dying},
    "destination": {"imap": ImapDying},
    "IMAP source": {},
}


@pytest.mark.parametrize("end", DYING)
def test_a_message_at_which_a_server_hangs_up_is_named_and_all_others_arrive(
    end: str, ends: MakeEnds, popferry: Popferry
) -> None:
    good = [mail(number) for number in range(1, 21)]
    both = ends(**DYING[end]) if end != "IMAP source" else ends(source_imap=ImapDying)
    both.deliver(*good[:10], mail(0, "poison"), *good[10:])
    words = both.imap_words if end == "IMAP source" else both.words
    ran = popferry.migrate(*words)
    name = "destination" if end == "destination" else "source"
    ran.told(3, f": set aside. The connection ends at this message: {name}: ", "all others go on", NEXT_RUN)
    both.check_complete(*good)
    both.deliver(mail(30))
    popferry.migrate(*words).told(3)
    both.check_complete(*good, mail(30))


@pytest.mark.dovecot
def test_a_message_of_one_dot_that_dovecot_serves_as_the_end_of_it_stops_no_other(
    real: Dovecot, user: str, popferry: Popferry
) -> None:
    # Seen: Dovecot 2.3.19 doubles no dot that is the first octet of a message (RFC 1939 §3), so this one ends with it.
    popferry.environment |= {"SSL_CERT_FILE": str(real.ca_file), "PF_SOURCE": real.password, "PF_DEST": real.password}
    bad = b".\r\nFrom: lost@example.org\r\n\r\nText.\r\n"
    real.deliver_many(user, [*FIVE[:2], bad, *FIVE[2:]])
    words = f"pop3://{user}@localhost:{real.pop3_port}", f"imap://new-{user}@localhost:{real.imap_port}/Old"
    ran = popferry.migrate(*words, "--delete-after", "verified")
    ran.told(3, ": set aside. The connection ends at this message: source: the POP3 server is not understood: ")
    assert sorted(one.octets for one in real.stored(f"new-{user}", "Old")) == FIVE
    assert [one.octets for one in real.stored(user, "INBOX")] == [bad]
