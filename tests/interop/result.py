"""What one server did in one role, and the table of all of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

HEAD = """\
| server | role | offered | accepted | identical | changed, and how | refused, and why | seconds |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""


@dataclass
class Result:
    """One row. ``changed`` and ``refused`` count messages by what the script itself saw, or the server said."""

    server: str
    role: str
    offered: int = 0
    accepted: int = 0
    identical: int = 0
    changed: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)
    not_run: str = ""  # why, where it was not

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Result:
        return cls(**json.loads(line))

    @property
    def row(self) -> str:
        if self.not_run:
            return f"| {self.server} | {self.role} | not run: {self.not_run} | | | | | |\n"
        cells = (
            *(self.server, self.role, f"{self.offered:,}", f"{self.accepted:,}", f"{self.identical:,}"),
            *(_listed(self.changed), _listed(self.refused), f"{self.seconds:,.0f}"),
        )
        return f"| {' | '.join(cells)} |\n"


def _listed(counts: dict[str, int]) -> str:
    found = sorted(counts.items(), key=lambda item: -item[1])
    return "; ".join(f"{count:,} {what}" for what, count in found).replace("|", "\\|") or "none"


def table(results: Iterable[Result]) -> str:
    return HEAD + "".join(result.row for result in results)


def page(results: Sequence[Result], about: str) -> str:
    """docs/interop.md."""
    return f"""\
# Other servers

`scripts/interop` runs real messages through every mail server that it can install, with the real command, and
compares what comes out with what went in by a reader that shares no code with popferry. This page is what
`scripts/interop --write` printed: {about}.

- **destination**: the messages come from a Dovecot and go into the server with `--dedupe off --verify full`.
  *Identical* means octet for octet. *Changed* is what the server made of the rest; each of these was named by
  popferry itself, as altered or as set aside with the reason, or the script would have failed. *Refused* messages
  were set aside with the server's words, and stay at the source.
- **source**: what the server's POP3 serves to the independent reader has to arrive at a Dovecot, message by message.

{table(results)}
A message that a server changes in a way that popferry knows (a NUL kept as 0x80, a bare CR dropped, a final line end
added, 8-bit octets of the header stored as X) counts as copied, with the change on record. Any other difference is
not believed: the message is set aside as kept with other octets, and never deleted at the source.
"""
