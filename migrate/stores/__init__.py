"""The places where mail lives: one file per kind, one contract (base)."""
