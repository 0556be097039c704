"""The state file: what is known for certain about every message."""
