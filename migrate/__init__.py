"""popferry moves mail out of POP3 accounts into IMAP folders. The map of the house.

model, errors, events, commands   the nouns; what happened; what the engine asks for
wire/    octets <-> meaning, no I/O         rules/   facts -> decisions, no I/O
stores/  one file per kind of place where mail lives; net is the one door to sockets and TLS
state/   the SQLite state file              engine/  the walk of a run as a step machine, no I/O
driver   carries the engine's commands out  config   URLs, secrets and options -> Job
cli/     the face: commands, progress, sentences for people

Arrows point down only; tests/test_house.py holds the table.
"""

__version__ = "0.1.0"
