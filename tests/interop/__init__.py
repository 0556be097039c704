"""The corpus through every mail server that can be installed: what each takes, changes, refuses (scripts/interop)."""
