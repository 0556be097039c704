"""``python -m migrate``: the same as ``popferry``."""

from .cli import main

raise SystemExit(main())
