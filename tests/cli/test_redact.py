"""Whatever a server says, and in whatever form it echoes a password: the password is not shown."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from migrate.cli.redact import SHORTEST, Redactor
from migrate.model import Endpoint, Protocol, Secret, Tls
from migrate.stores.imap.link import Link as ImapLink
from migrate.stores.pop3.link import Link as Pop3Link

CHARS = st.characters(exclude_categories=["Cs"], exclude_characters="*\r\n\0")
PASSWORDS = st.text(CHARS, min_size=SHORTEST, max_size=24)
USERS = st.text(CHARS, min_size=1, max_size=12)


@given(st.text(max_size=30), st.text(max_size=30), USERS, PASSWORDS, st.data())
def test_no_form_of_a_password_is_left_in_a_text(
    before: str, after: str, user: str, password: str, data: st.DataObject
) -> None:
    secret = Secret(password)
    redact = Redactor()
    redact.learn(user, secret)
    forms = [form.decode() for form in secret.forms(user) if len(form) >= SHORTEST]
    shown = redact(before + data.draw(st.sampled_from(forms)) + after)
    assert not [form for form in forms if form in shown]


@given(st.text(max_size=30), st.lists(PASSWORDS, min_size=2, max_size=3, unique=True))
def test_of_several_passwords_none_is_left_also_where_one_holds_another(text: str, passwords: list[str]) -> None:
    redact = Redactor()
    for password in passwords:
        redact.learn("alice", Secret(password))
    shown = redact(text.join(passwords) + passwords[0] + passwords[1])
    assert not [password for password in passwords if password in shown]


@given(st.binary(max_size=30), st.binary(max_size=30), USERS, PASSWORDS, st.data())
def test_no_form_of_a_password_is_left_in_what_a_link_hands_on(
    before: bytes, after: bytes, user: str, password: str, data: st.DataObject
) -> None:
    secret = Secret(password)
    endpoint = Endpoint(Protocol.POP3, user, "pop.example.org", 995, Tls.IMPLICIT)
    nobody = cast(Any, None)
    pop3 = Pop3Link(nobody, endpoint, secret, lambda: 0.0, None)
    imap = ImapLink(nobody, lambda: 0.0, 1.0, None)
    imap.keep_secret(endpoint, secret)
    said = before + data.draw(st.sampled_from(secret.forms(user))) + after
    for scrubbed in (pop3.scrub(said), imap.scrub(said)):
        assert not [form for form in secret.forms(user) if form in scrubbed]
