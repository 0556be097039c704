"""10 and 20: a server that does not take the password, whatever it says about it."""

from __future__ import annotations

import pytest

from ..support.dovecot import Dovecot
from ..support.embedded.session import ServerSession
from .canary import DEST, SOURCE
from .conftest import MakeEnds, Popferry
from .servers import EchoingImap, EchoingPlainImap, EchoingPlainPop3, EchoingPop3

APP_PASSWORD = "Many providers want an app password"


@pytest.mark.dovecot
@pytest.mark.parametrize("manner", ["-v", "--json", "-q"])
def test_a_wrong_password_of_the_source_is_10(real: Dovecot, popferry: Popferry, manner: str) -> None:
    popferry.environment |= {"SSL_CERT_FILE": str(real.ca_file), "PF_DEST": real.password}
    source, dest = f"pop3s://al@localhost:{real.pop3s_port}", f"imaps://bo@localhost:{real.imaps_port}/Old"
    ran = popferry.migrate(source, dest, *([] if manner == "-v" else [manner]))
    ran.told(10, "Source: localhost refused the login of al.", 'The server said: "-ERR [AUTH] Authentication failed."')
    ran.told(10, "Check user name and password", "POP3 is switched on", APP_PASSWORD)
    ran.told(10, "When that is put right, run the same command to continue.")


@pytest.mark.dovecot
@pytest.mark.parametrize("scheme", ["imaps", "imap"])
def test_a_wrong_password_of_the_destination_is_20(real: Dovecot, popferry: Popferry, scheme: str) -> None:
    popferry.environment |= {"SSL_CERT_FILE": str(real.ca_file), "PF_SOURCE": real.password}
    port = real.imaps_port if scheme == "imaps" else real.imap_port
    ran = popferry.migrate(f"pop3s://al@localhost:{real.pop3s_port}", f"{scheme}://bo@localhost:{port}/Old")
    ran.told(20, "Destination: localhost refused the login of bo.", "[AUTHENTICATIONFAILED] Authentication failed.")
    ran.told(20, "Check user name and password", APP_PASSWORD, "Nothing is lost.")


@pytest.mark.parametrize("kind", [EchoingPop3, EchoingPlainPop3])
@pytest.mark.parametrize("manner", [(), ("--json",)], ids=["talk", "json"])
def test_a_source_that_says_the_password_back_shows_stars(
    kind: type[ServerSession], manner: tuple[str, ...], ends: MakeEnds, popferry: Popferry
) -> None:
    ran = popferry.migrate(*ends(pop3=kind).words, *manner)
    ran.told(10, "Source: 127.0.0.1 refused the login of alice.", "***")


@pytest.mark.parametrize("kind", [EchoingImap, EchoingPlainImap])
@pytest.mark.parametrize("manner", [(), ("--json",)], ids=["talk", "json"])
def test_a_destination_that_says_the_password_back_shows_stars(
    kind: type[ServerSession], manner: tuple[str, ...], ends: MakeEnds, popferry: Popferry
) -> None:
    ran = popferry.migrate(*ends(imap=kind).words, *manner)
    ran.told(20, "Destination: 127.0.0.1 refused the login of bob.", "***")


def test_each_password_goes_to_its_own_server_only(ends: MakeEnds, popferry: Popferry) -> None:
    popferry.environment |= {"PF_SOURCE": DEST, "PF_DEST": SOURCE}
    both = ends()
    popferry.migrate(*both.words).told(20, "Destination: 127.0.0.1 refused the login of bob.")


def test_a_destination_without_password_logins_is_20(ends: MakeEnds, popferry: Popferry) -> None:
    class OAuthOnly(EchoingImap):
        def do_capability(self, _: list[bytes]) -> None:
            self.send(b"* CAPABILITY IMAP4rev1 LOGINDISABLED AUTH=XOAUTH2\r\n")

    ran = popferry.migrate(*ends(imap=OAuthOnly).words)
    ran.told(20, "Destination: the IMAP server takes no password here", "app password")


def test_a_password_with_a_control_character_is_not_sent(ends: MakeEnds, popferry: Popferry) -> None:
    popferry.environment |= {"PF_SOURCE": SOURCE + "\x01"}
    ran = popferry.migrate(*ends().words)
    ran.told(10, "Source: the password for 127.0.0.1 holds a line end or another control character.", "Check where")
