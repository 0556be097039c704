"""Servers that need system users, port 110 or packages that exclude Dovecot's: each in a chroot."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.raw import RawImap

from .chroot import Chroot, entered, prepare
from .place import BOTH, PASSWORD, SOURCE, USER, Kind, Place, wait_for

IMAP_PORT, POP3_PORT = 10143, 10110  # in a network of the server's own


def _kind(
    name: str, start: Callable[[Chroot], Place], packages: Sequence[str], roles: tuple[str, ...], title: str
) -> Kind:
    @contextmanager
    def run() -> Iterator[Place]:
        with tempfile.TemporaryDirectory(prefix="pf-root-") as place, entered(name, Path(place)) as root:
            yield start(root)

    return Kind(title, roles, lambda: prepare(name, packages), run, needs_chroot=True)


# --- around mbox files --------------------------------------------------------------------------


def _add_user(root: Chroot) -> None:
    root.run(f"useradd -m {USER}; echo {USER}:{PASSWORD} | chpasswd")


def _spool(root: Chroot) -> Callable[[Sequence[bytes]], None]:
    """Fills /var/mail: an mbox with LF line ends, in which lines that begin with "From " are quoted."""

    def fill(messages: Sequence[bytes]) -> None:
        with (root.path / "var/mail" / USER).open("wb") as spool:
            for octets in messages:
                lines = re.sub(rb"(?m)^From ", b">From ", octets.replace(b"\r\n", b"\n"))
                spool.write(b"From nobody@example.org Thu Jan  1 00:00:00 2020\n" + lines)
                spool.write(b"\n" if lines.endswith(b"\n") else b"\n\n")
        root.run(f"chown {USER}:mail /var/mail/{USER}; chmod 660 /var/mail/{USER}")

    return fill


def _popa3d(root: Chroot) -> Place:
    _add_user(root)
    root.run("popa3d -D")
    wait_for(110)
    return Place(root.version("popa3d"), pop3_port=110, fill=_spool(root))


def _solid(root: Chroot) -> Place:
    _add_user(root)
    root.start("solid-pop3d")
    wait_for(110)
    return Place(root.version("solid-pop3d"), pop3_port=110, fill=_spool(root))


def _mailutils(root: Chroot) -> Place:
    _add_user(root)
    _spool(root)([])
    for program, port in (("pop3d", POP3_PORT), ("imap4d", IMAP_PORT)):
        config = root.path / f"etc/{program}.conf"
        config.write_text(
            f"mode daemon;\nforeground no;\npidfile /run/{program}.pid;\nserver 127.0.0.1:{port} {{ }};\n"
            "logging { syslog no; };\n"
        )
        root.run(f"{program} --config-file=/etc/{program}.conf")
        wait_for(port)
    return Place(root.version("mailutils-imap4d"), IMAP_PORT, POP3_PORT, keeps_books=True, fill=_spool(root))


# --- with stores of their own -------------------------------------------------------------------

_COURIER = f"""\
useradd -r -m -d /srv/mail vmail
mkdir -p /srv/mail/{USER} /run/courier/authdaemon
maildirmake.courier /srv/mail/{USER}/Maildir || maildirmake /srv/mail/{USER}/Maildir
chown -R vmail:vmail /srv/mail
chown -R courier /run/courier
sed -i 's/^authmodulelist=.*/authmodulelist="authuserdb"/' /etc/courier/authdaemonrc
userdb {USER} set uid=$(id -u vmail) gid=$(id -g vmail) home=/srv/mail/{USER} mail=/srv/mail/{USER}/Maildir
printf '{PASSWORD}\\n{PASSWORD}\\n' | userdbpw -md5 | userdb {USER} set systempw
makeuserdb
sed -i 's/^ADDRESS=.*/ADDRESS=127.0.0.1/' /etc/courier/imapd /etc/courier/pop3d
sed -i 's/^PORT=.*/PORT={IMAP_PORT}/;s/^IMAPDSTART=.*/IMAPDSTART=YES/' /etc/courier/imapd
sed -i 's/^PORT=.*/PORT={POP3_PORT}/;s/^POP3DSTART=.*/POP3DSTART=YES/' /etc/courier/pop3d
for daemon in authdaemond imapd pop3d; do $daemon start; done
"""


def _courier(root: Chroot) -> Place:
    root.run(_COURIER)
    wait_for(IMAP_PORT)
    wait_for(POP3_PORT)
    return Place(root.version("courier-imap"), IMAP_PORT, POP3_PORT, has_utf8=True)


_CYRUS = f"""\
mkdir -p /srv/conf /srv/spool /srv/socket
cat >/srv/imapd.conf <<END
configdirectory: /srv/conf
proc_path: /srv/conf/proc
mboxname_lockpath: /srv/conf/lock
defaultpartition: default
partition-default: /srv/spool
admins: cyrus
altnamespace: yes
unixhierarchysep: yes
virtdomains: off
allowplaintext: yes
sasl_pwcheck_method: auxprop
sasl_mech_list: PLAIN LOGIN
sasl_sasldb_path: /srv/sasldb2
sasl_auxprop_plugin: sasldb
popminpoll: 0
servername: localhost
END
cat >/srv/cyrus.conf <<END
START {{
  recover cmd="/usr/lib/cyrus/bin/ctl_cyrusdb -C /srv/imapd.conf -r"
}}
SERVICES {{
  imap cmd="imapd -C /srv/imapd.conf" listen="127.0.0.1:{IMAP_PORT}" prefork=1
  pop3 cmd="pop3d -C /srv/imapd.conf" listen="127.0.0.1:{POP3_PORT}" prefork=1
}}
END
chown -R cyrus:mail /srv
for host in localhost $(hostname); do
  for user in {USER} cyrus; do echo {PASSWORD} | saslpasswd2 -p -c -f /srv/sasldb2 -u $host $user; done
done
chown cyrus /srv/sasldb2
/usr/lib/cyrus/bin/master -C /srv/imapd.conf -M /srv/cyrus.conf -p /run/cyrus.pid -d
"""


def _cyrus(root: Chroot) -> Place:
    root.run(_CYRUS)
    wait_for(IMAP_PORT)
    wait_for(POP3_PORT)
    with RawImap("127.0.0.1", IMAP_PORT, "cyrus", PASSWORD) as admin:
        admin.command(f"CREATE user/{USER}")
    return Place(root.version("cyrus-imapd"), IMAP_PORT, POP3_PORT)


_CYRUS_PACKAGES = ("cyrus-imapd", "cyrus-pop3d", "cyrus-admin", "sasl2-bin", "libsasl2-modules")
_COURIER_PACKAGES = ("courier-imap", "courier-pop", "courier-base", "courier-authdaemon", "courier-authlib-userdb")

POPA3D = _kind("popa3d", _popa3d, ("popa3d",), (SOURCE,), "popa3d")
SOLID = _kind("solid-pop3d", _solid, ("solid-pop3d",), (SOURCE,), "solid-pop3d")
MAILUTILS = _kind("mailutils", _mailutils, ("mailutils-pop3d", "mailutils-imap4d"), BOTH, "GNU Mailutils")
CYRUS = _kind("cyrus", _cyrus, _CYRUS_PACKAGES, BOTH, "Cyrus")
COURIER = _kind("courier", _courier, _COURIER_PACKAGES, BOTH, "Courier")
