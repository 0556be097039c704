"""What one server did in one role, and the table of all of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

HEAD = """\
| server | role | offered | accepted | identical | changed, and how | refused, and why | seconds | seen |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""


@dataclass
class Result:
    """One row. ``changed`` and ``refused`` count messages: by what the script itself saw, and by what was said."""

    server: str
    role: str
    offered: int = 0
    accepted: int = 0
    identical: int = 0
    changed: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    not_run: str = ""  # why, where it was not

    def to_json(self) -> str:
        return json.dumps(vars(self))

    @classmethod
    def from_json(cls, line: str) -> Result:
        facts = json.loads(line)
        return cls(**facts | {name: Counter(facts[name]) for name in ("changed", "refused")})

    @property
    def line(self) -> str:
        """The row as a line of the table."""
        if self.not_run:
            return f"| {self.server} | {self.role} | not run: {self.not_run} | | | | | | |"
        seen = list(self.notes)
        if self.violations:
            first = self.violations[0].splitlines()[0][:240].replace("|", "\\|")
            seen.append(f"{len(self.violations)} VIOLATIONS, the first: {first}")
        cells = (
            *(self.server, self.role, f"{self.offered:,}", f"{self.accepted:,}", f"{self.identical:,}"),
            *(_listed(self.changed), _listed(self.refused), f"{self.seconds:,.0f}", "; ".join(seen)),
        )
        return f"| {' | '.join(cells)} |"


def _listed(counts: Counter[str]) -> str:
    return "; ".join(f"{count:,} {what}" for what, count in counts.most_common()).replace("|", "\\|") or "none"


def table(results: Iterable[Result]) -> str:
    return HEAD + "".join(result.line + "\n" for result in results)


def page(results: Sequence[Result], about: str) -> str:
    """docs/interop.md."""
    return f"""\
# Other servers

`scripts/interop` runs messages through every mail server that it can install, with the real command, and compares what
comes out with what went in. Both are read by clients of the script's own, which share no code with popferry. This page
is what `scripts/interop --write` wrote: {about}.

- **destination**: the messages come from a Dovecot and go into the server with `--dedupe off --verify full`.
  *Identical* means octet for octet. *Changed* is what the server made of the rest, as the script sees it; each of these
  was named by popferry itself, as altered in the same words or as set aside with the reason, or the script would have
  failed. *Refused* messages were set aside with the server's words; they stay at the source.
- **source**: what the server's POP3 serves to the script's own reader has to arrive at a Dovecot, message by message. A
  server without IMAP, and Mailutils, is filled through its mailbox file, Dovecot by delivery, the others by the
  migration of the row above.

{table(results)}
A message that a server changes in a way that popferry knows (NUL kept as 0x80, a bare CR dropped, a final line end
added, 8-bit octets of the header stored as X) counts as copied, with the change on record. Any other difference is not
believed: the message is set aside as kept with other octets, and never deleted at the source.
"""
