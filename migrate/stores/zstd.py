"""The library for zstd: that of Python 3.14, before that the extra popferry[zstd]."""

from __future__ import annotations

from typing import Any

HINT = 'Install it with: pip install "popferry[zstd]"'


def zstd() -> Any:
    """The library; None where there is none."""
    try:
        import compression.zstd as library  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        try:
            import backports.zstd as library
        except ImportError:
            return None
    return library
