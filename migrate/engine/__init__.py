"""The walk of a run as one deterministic step machine, without any I/O."""
