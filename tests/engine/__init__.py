"""The engine through the real driver, between servers in memory."""
