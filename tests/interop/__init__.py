"""The corpus through every mail server that can be had: what each takes, changes and refuses (scripts/interop)."""
