"""A part of the STARTTLS matrix, and all of the certificates."""

from __future__ import annotations

from . import tls_certificates, tls_starttls


def test_the_matrices_are_large_enough() -> None:
    imap, pop3 = tls_starttls.imap_behaviours(), tls_starttls.pop3_behaviours()
    assert len({one.name for one in imap}) == len(imap) >= 69
    assert len({one.name for one in pop3}) == len(pop3) >= 41


def test_tampering_before_tls_gets_no_password_and_nothing_said_there_counts() -> None:
    report = tls_starttls.main(full=False, seed=0, share=7)
    assert report.violations == []
    assert report.cases >= 60


def test_only_a_valid_certificate_for_this_host_or_the_pinned_one_gets_the_password() -> None:
    report = tls_certificates.main(full=False, seed=0)
    assert report.violations == []
