"""The bench: popferry against the raw limit and its peers, side by side in one run, as ratios (scripts/bench)."""
