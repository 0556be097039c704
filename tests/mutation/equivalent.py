"""Mutants that do what the module does, so that no test can tell them from it; each with the reason."""

from __future__ import annotations

_FALSY = "None is as false as False, and the caller asks only that"
_LENGTHS = "both sides have one entry for each message: the check of their lengths never strikes"
_TYPES = "never None here; the condition is there for the type checker"
_PART = "how many at once; all are done all the same"
_SUM = "any number above 0 means progress"

_RELEASE = "migrate.engine.release"
_PROOF = "migrate.engine.proof"

# (module, first line of the changed statement, change): why nothing can come of it.
EQUIVALENT: dict[tuple[str, str, str], str] = {
    (
        _RELEASE,
        "FETCH_CHUNK = 8  # messages fetched again at once: each is held in memory up to 8 MiB only while compared",
        "8 + 1",
    ): _PART,
    (
        _RELEASE,
        "while len(marked) < limit:",
        "Lt swapped: len(marked) < limit",
    ): "then 0 rows are asked for, and none come",
    (_RELEASE, "ids = marked[start : start + 200]", "200 + 1"): "one row is recorded twice as what it is",
    (_RELEASE, "return False", "return nothing"): _FALSY,
    (
        _RELEASE,
        "refs = tuple(work.ref for work in works if work.ref is not None)",
        "without its if: (work.ref for work in works if work.ref is not None)",
    ): _TYPES,
    (_RELEASE, "for row, work, answer in zip(rows, works, answers, strict=True):", "not True"): _LENGTHS,
    (_RELEASE, "for work, outcome in zip(chunk, outcomes, strict=True):", "not True"): _LENGTHS,
    (
        _RELEASE,
        "again = [work for work in works if work.row.fetched_session != run.session and work.ref is not None]",
        "without work.ref is not None: work.row.fetched_session != run.session and work.ref is not None",
    ): _TYPES,
    (
        _RELEASE,
        "outcomes = yield from run.gather([Fetch(work.ref) for work in chunk if work.ref is not None])",
        "without its if: [Fetch(work.ref) for work in chunk if work.ref is not None]",
    ): _TYPES,
    (_RELEASE, "run.note_achieved(1)", "1 + 1"): _SUM,
    (
        _RELEASE,
        "uids = [row.uid_dest for row in rows if row.uid_dest is not None]",
        "without its if: [row.uid_dest for row in rows if row.uid_dest is not None]",
    ): _TYPES,
    (
        _RELEASE,
        "old = [row.uid_dest for row in stale if row.uid_dest is not None]",
        "without its if: [row.uid_dest for row in stale if row.uid_dest is not None]",
    ): _TYPES,
    (
        _RELEASE,
        "elif copy is not None and row.fingerprint is not None and _matches(row, copy):",
        "without row.fingerprint is not None: copy is not None and row.fingerprint is not None and _matches(row, copy)",
    ): _TYPES,
    (_PROOF, "CHUNK = 100", "100 + 1"): _PART,
    (
        _PROOF,
        "return mailbox, [row.uid_dest for row in rows if row.uid_dest is not None]",
        "without its if: [row.uid_dest for row in rows if row.uid_dest is not None]",
    ): _TYPES,
    (
        _PROOF,
        "is_clean = all(row.fingerprint is not None and row.fingerprint.settled is None for row in rows)",
        "without row.fingerprint is not None: row.fingerprint is not None and row.fingerprint.settled is None",
    ): _TYPES,
    (
        _PROOF,
        "is_clean = all(row.fingerprint is not None and row.fingerprint.settled is None for row in rows)",
        "IsNot swapped: row.fingerprint is not None",
    ): "digests in settled form serve clean messages too, they only cost more",
    (
        _PROOF,
        "rows = yield from run.ask(lambda books, after=after: books.awaiting_proof(1000, after))  # type: ignore[misc]",
        "1000 + 1",
    ): _PART,
}
