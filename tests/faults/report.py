"""What one part of the fault programme found."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Report:
    """One row of the table that scripts/faults prints."""

    name: str
    cases: int = 0
    violations: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    not_run: list[str] = field(default_factory=list)  # what this machine does not allow, and why
