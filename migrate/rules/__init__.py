"""Facts to decisions, without any I/O."""
