"""Every store against the one contract."""

import pytest

pytest.register_assert_rewrite("tests.stores.contract")
