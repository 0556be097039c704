"""The face: commands, progress, sentences for people."""


def main() -> int:
    """The exit code of one ``popferry`` command."""
    from .entry import enter

    return enter()
