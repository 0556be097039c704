"""A cable that breaks in the middle: the same run connects again, looks first, and sends nothing twice."""

from __future__ import annotations

import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.support.dovecot import Dovecot
from tests.support.mailgen import generate
from tests.support.relay import Relay

from .ferry import Ferry, Ran, commands_of, ferry

pytestmark = [pytest.mark.dovecot]

FOLDER = "Old"
OPTIONS = ("--dedupe", "off", "--settle", "0.3", "--verify", "full")
MESSAGES = 150
CLEAR = "{}+insecure"


def load(dovecot: Dovecot, user: str) -> list[bytes]:
    loaded = [dovecot.served(octets) for octets in generate(7, MESSAGES)]
    dovecot.deliver_many(f"old-{user}", loaded)
    return loaded


def through(dovecot: Dovecot, user: str, state: Path, *, pop3: Relay | None = None, imap: Relay | None = None) -> Ferry:
    """A migration in clear text, so that the relays understand what they cut."""
    return ferry(
        state,
        dovecot,
        f"old-{user}",
        dovecot,
        f"new-{user}",
        FOLDER,
        source_port=pop3.port if pop3 else None,
        dest_port=imap.port if imap else None,
        scheme=CLEAR,
    )


def assert_all_there_once(dovecot: Dovecot, user: str, loaded: list[bytes], ran: Ran) -> None:
    assert (ran.code, ran.err) == (0, "")
    found = Counter(message.octets for message in dovecot.stored(f"new-{user}", FOLDER))
    expected = Counter(map(dovecot.kept, loaded))
    assert ((expected - found).total(), (found - expected).total()) == (0, 0), "(missing, too many)"
    assert (ran.tally["listed"], ran.tally["copied"], ran.tally["verified"]) == (MESSAGES,) * 3
    assert ran.all("doubled") == []


def assert_reconnected(ran: Ran, end: str) -> None:
    """Connected again in the same run, because of that end, once."""
    assert [event["end"] for event in ran.all("reconnecting")] == [end]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_cut_in_the_middle_of_the_upload_the_same_run_waits_looks_and_goes_on(
    dovecot: Dovecot, user: str, tmp_path: Path, share: float
) -> None:
    loaded = load(dovecot, user)
    cut = int(sum(map(len, loaded)) * share)

    with Relay(dovecot.imap_port, cut_sent=cut) as cable:
        ran = through(dovecot, user, tmp_path / "state.sqlite", imap=cable).run(*OPTIONS)
        second = cable.sent[cut:]

    assert_all_there_once(dovecot, user, loaded, ran)
    assert_reconnected(ran, "destination")
    order = [event["event"] for event in ran.events]
    assert order.index("reconnecting") < order.index("settling"), "what is under way may still arrive"
    assert 0 < second.index(b"UID SEARCH") < second.index(b" APPEND "), "it looks before it sends again"


def test_when_the_answer_to_an_upload_is_lost_the_message_is_found_and_not_sent_again(
    dovecot: Dovecot, user: str, tmp_path: Path
) -> None:
    # All is the same until the first upload is answered: where the answer stands is learned from a run for another.
    with Relay(dovecot.imap_port) as cable:
        load(dovecot, f"twin-{user}")
        through(dovecot, f"twin-{user}", tmp_path / "twin.sqlite", imap=cable).run(*OPTIONS)
        answer = cable.received.index(b"[APPENDUID")
    loaded = load(dovecot, user)

    with Relay(dovecot.imap_port, cut_received=answer + 3) as cable:
        ran = through(dovecot, user, tmp_path / "state.sqlite", imap=cable).run(*OPTIONS)
        sent = cable.sent

    assert_all_there_once(dovecot, user, loaded, ran)
    assert_reconnected(ran, "destination")
    found = ran.one("scanned")
    assert (found["adopted"] > 0, found["messages"]) == (True, found["adopted"])
    kept = [message.octets for message in dovecot.stored(f"new-{user}", FOLDER)]
    assert [sent.count(octets) for octets in kept[: found["adopted"]]] == [1] * found["adopted"]


MISREAD = {
    "a CR before the name of a field": b"From: a@b\r\n\rMessage-ID: <1@x>\r\nSubject: s\r\n\r\nbody\r\n",
    "a CR in the name of a field": b"From: a@b\r\nMessage\r-ID: <1@x>\r\nSubject: s\r\n\r\nbody\r\n",
    "behind a long field": b"X: " + b"x" * 3_000_000 + b"\r\nMessage-ID: <1@x>\r\n\r\nbody\r\n",
}


@pytest.mark.parametrize("octets", MISREAD.values(), ids=MISREAD)
def test_a_message_whose_fields_the_server_reads_otherwise_is_found_when_the_answer_is_lost(
    user: str, tmp_path: Path, octets: bytes
) -> None:
    with Dovecot(mail_format="mdbox") as keeps_cr:
        keeps_cr.deliver_many(f"old-{user}", [octets])

        def run(name: str, cut: int | None) -> tuple[Ran, bytes]:
            with Relay(keeps_cr.imap_port, cut_received=cut) as cable:
                state = tmp_path / f"{name}.sqlite"
                migration = ferry(
                    state, keeps_cr, f"old-{user}", keeps_cr, name, FOLDER, dest_port=cable.port, scheme=CLEAR
                )
                return migration.run(*OPTIONS), cable.received

        received = run("probe", None)[1]
        ran, _ = run("cut", received.rindex(b"\n", 0, received.index(b"[APPENDUID")) + 1)
        assert ran.code == 0, ran.err
        assert_reconnected(ran, "destination")
        assert [message.octets for message in keeps_cr.stored("cut", FOLDER)] == [octets]


@pytest.mark.parametrize("share", [0.2, 0.7])
def test_cut_in_the_middle_of_a_message_from_the_source_the_same_run_fetches_the_rest(
    dovecot: Dovecot, user: str, tmp_path: Path, share: float
) -> None:
    loaded = load(dovecot, user)

    with Relay(dovecot.pop3_port, cut_received=int(sum(map(len, loaded)) * share)) as cable:
        ran = through(dovecot, user, tmp_path / "state.sqlite", pop3=cable).run(*OPTIONS)
        sent = cable.sent

    assert_all_there_once(dovecot, user, loaded, ran)
    assert_reconnected(ran, "source")
    assert MESSAGES < len(commands_of(sent, b"RETR")) <= 2 * MESSAGES
    assert commands_of(sent, b"DELE") == []


def test_cut_at_both_ends_again_and_again_everything_still_arrives_once(
    dovecot: Dovecot, user: str, tmp_path: Path
) -> None:
    loaded = load(dovecot, user)
    octets = sum(map(len, loaded))

    with (
        Relay(dovecot.imap_port, cut_sent=int(octets * 0.6)) as imap,
        Relay(dovecot.pop3_port, cut_received=int(octets * 0.3)) as pop3,
    ):
        ran = through(dovecot, user, tmp_path / "state.sqlite", pop3=pop3, imap=imap).run(*OPTIONS)

    assert_all_there_once(dovecot, user, loaded, ran)
    assert {event["end"] for event in ran.all("reconnecting")} == {"source", "destination"}
    ran = through(dovecot, user, tmp_path / "state.sqlite").run(*OPTIONS)
    assert_all_there_once(dovecot, user, loaded, ran)
    assert ran.all("copied") == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped_by_a_person_it_finishes_what_is_in_flight_and_the_next_run_need_not_look(
    dovecot: Dovecot, user: str, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    loaded = load(dovecot, user)
    migration = through(dovecot, user, tmp_path / "state.sqlite")

    process = migration.start(*OPTIONS, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    while b'"fetched"' not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(number)
    _, said = process.communicate(timeout=60)

    assert process.returncode == code
    assert b"Nothing is lost" in said
    left = migration.status()["stages"]
    assert "intended" not in left
    ran = migration.run(*OPTIONS)
    assert_all_there_once(dovecot, user, loaded, ran)
    assert ran.all("settling") == []


# --- more mail than is held in memory ----------------------------------------------------------

QUOTA = """
mail_plugins = $mail_plugins quota
plugin {
  quota = maildir:User quota
  quota_rule = *:storage=4M
}
"""
LONG = b"x" * 78 + b"\r\n"


@pytest.fixture
def filled(dovecot: Dovecot, user: str) -> int:
    """The octets of a maildrop with several times as much as a run holds."""
    loaded = [b"Message-ID: <%d@x>\r\n\r\n" % number + LONG * 75 for number in range(3000)]
    dovecot.deliver_many(f"old-{user}", loaded)
    return sum(map(len, loaded))


def test_a_run_with_much_under_way_ends_where_the_destination_is_full(
    dovecot: Dovecot, user: str, tmp_path: Path, filled: int
) -> None:
    with Dovecot(extra=QUOTA) as full:
        ran = ferry(tmp_path / "state.sqlite", dovecot, f"old-{user}", full, "new", FOLDER).run(*OPTIONS)
    assert ran.code == 22, ran.err
    assert "full" in ran.one("finished")["problems"][0]
    assert 0 < ran.tally["copied"] < 3000


def test_a_run_with_much_under_way_goes_on_where_the_cable_to_the_destination_breaks(
    dovecot: Dovecot, user: str, tmp_path: Path, filled: int
) -> None:
    with Relay(dovecot.imap_port, cut_sent=filled // 3) as cable:
        ran = through(dovecot, user, tmp_path / "state.sqlite", imap=cable).run(*OPTIONS)
    assert (ran.code, ran.tally["verified"]) == (0, 3000)
    assert_reconnected(ran, "destination")


def test_a_run_with_much_under_way_is_stopped_in_order(
    dovecot: Dovecot, user: str, tmp_path: Path, filled: int
) -> None:
    with Relay(dovecot.imap_port) as cable:
        migration = through(dovecot, user, tmp_path / "state.sqlite", imap=cable)
        process = migration.start(*OPTIONS)
        while len(cable.sent) < filled // 3:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    stages = migration.status()["stages"]
    assert "intended" not in stages, "it was stopped by force"
    assert 0 < stages["verified"] < 3000
