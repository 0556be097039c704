"""The tests: a mirror of the package, and the suites that every store passes."""
