"""Acceptance: the real command between real servers, judged by the servers' own truth."""
