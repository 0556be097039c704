"""What the tests of whole commands may ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.dovecot import Dovecot

from .nightly import Nightly


@pytest.fixture
def nightly(tmp_path: Path, dovecot: Dovecot, user: str) -> Nightly:
    return Nightly(tmp_path, dovecot, user)
