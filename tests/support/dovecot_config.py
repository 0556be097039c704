"""The configuration of a test's Dovecot, in the language of 2.3 and in that of 2.4."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass
from pathlib import Path

STORE_NAMES = {"maildir": "Maildir", "mdbox": "mdbox", "mbox": "mbox"}


@dataclass(frozen=True)
class Settings:
    """What one server of a test shall be."""

    version: str
    directory: Path
    uid: int  # of the mail processes
    gid: int
    ports: dict[str, int]
    password: str
    mail_format: str
    auth_delay: int
    capability: str | None
    rawlog: bool
    extra: str

    @property
    def user(self) -> str:
        return pwd.getpwuid(self.uid).pw_name

    @property
    def group(self) -> str:
        return grp.getgrgid(self.gid).gr_name

    @property
    def is_23(self) -> bool:
        return self.version.startswith("2.3.")

    def text(self) -> str:
        """The whole file."""
        return _language_23(self) if self.is_23 else _language_24(self)


def _language_23(settings: Settings) -> str:
    here, user, group = settings.directory, settings.user, settings.group
    return f"""\
# Dovecot 2.3
base_dir = {here}/run
state_dir = {here}/run
log_path = {here}/log
listen = 127.0.0.1
protocols = pop3 imap
ssl = yes
ssl_cert = <{here}/cert.pem
ssl_key = <{here}/key.pem
disable_plaintext_auth = no
auth_failure_delay = {settings.auth_delay}
mail_location = {settings.mail_format}:{here}/mail/%u/{STORE_NAMES[settings.mail_format]}
passdb {{
  driver = static
  args = password={settings.password}
}}
userdb {{
  driver = static
  args = uid={user} gid={group} home={here}/mail/%u
}}
{_common(settings)}"""


def _language_24(settings: Settings) -> str:
    here, user, group = settings.directory, settings.user, settings.group
    return f"""\
dovecot_config_version = {settings.version}
dovecot_storage_version = {settings.version}
base_dir = {here}/run
state_dir = {here}/run
log_path = {here}/log
listen = 127.0.0.1
protocols {{
  pop3 = yes
  imap = yes
}}
ssl = yes
ssl_server_cert_file = {here}/cert.pem
ssl_server_key_file = {here}/key.pem
auth_allow_cleartext = yes
auth_failure_delay = {settings.auth_delay}s
mail_driver = {settings.mail_format}
mail_home = {here}/mail/%{{user}}
mail_path = {here}/mail/%{{user}}/{STORE_NAMES[settings.mail_format]}
mail_uid = {user}
mail_gid = {group}
passdb static {{
  password = {settings.password}
}}
userdb static {{
  fields {{
    uid = {user}
    gid = {group}
    home = {here}/mail/%{{user}}
  }}
}}
{_common(settings).replace("%u", "%{user}")}"""


def _common(settings: Settings) -> str:
    """The lines that 2.3 and 2.4 share, but for a name."""
    lines = [
        "first_valid_uid = 1",
        "mail_fsync = never",  # a test machine's disk is not what is tested
        "mail_max_userip_connections = 500",
        "namespace inbox {\n  inbox = yes\n}",
    ]
    if os.geteuid() != 0:
        lines += [
            f"default_internal_user = {settings.user}",
            f"default_internal_group = {settings.group}",
            f"default_login_user = {settings.user}",
            *(f"service {name} {{\n  chroot =\n}}" for name in ("anvil", "pop3-login", "imap-login")),
        ]
    for protocol in ("pop3", "imap"):
        lines.append(
            f"""service {protocol}-login {{
  client_limit = 1000
  process_min_avail = 1
  {"service_count = 0" if settings.is_23 else "restart_request_count = unlimited"}
  inet_listener {protocol} {{
    port = {settings.ports[protocol]}
  }}
  inet_listener {protocol}s {{
    port = {settings.ports[protocol + "s"]}
    ssl = yes
  }}
}}"""
        )
    if settings.capability is not None:
        lines.append(f"imap_capability = {settings.capability}")
    if settings.rawlog:
        lines.append(f"rawlog_dir = {settings.directory}/raw/%u")
    return "\n".join([*lines, settings.extra, ""])
