"""TLS: who is believed, and what somebody on the way can do before it begins."""

from __future__ import annotations

from . import tls_certificates, tls_starttls
from .report import Report


def main(full: bool, seed: int) -> Report:
    """Both matrices."""
    report = Report("TLS: certificates, STARTTLS and STLS")
    for part in (tls_certificates.main(full, seed), tls_starttls.main(full, seed)):
        report.cases += part.cases
        report.violations += part.violations
        report.notes += [f"{part.name}: {part.cases}", *part.notes]
    return report
