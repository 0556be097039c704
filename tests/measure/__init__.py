"""Figures about the tests themselves."""
