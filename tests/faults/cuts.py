"""Cuts of the wire at any octet: reset, closed, stalled or split, in both directions, at both ends, plain and TLS."""

from __future__ import annotations

import multiprocessing
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from tests.fakes.cutter import RECEIVED, SENT, Cut, Cutter, Kind

from . import cuts_pieces
from .cuts_case import Case, Migration, Rig, Verdict, play, rig
from .report import Report

WORKERS = 4  # on two cores: a stalled case waits, and so does Dovecot's login
QUICK_CUTS = 470
TLS_STRIDE = 40  # the full programme cuts TLS at every so many octets, and at the edges of every record
KEEPING_STRIDE = 10

_LITERAL = re.compile(rb"\{([0-9]+)\+?\}\r\n")


@dataclass(frozen=True)
class Wire:
    """What one direction of one end carried in a run without fault."""

    end: str
    direction: str
    is_tls: bool
    is_deleting: bool
    octets: bytes
    turns: tuple[int, ...]
    starts: tuple[int, ...]

    def case(self, kind: Kind, at: int) -> Case:
        return Case(self.end, Cut(kind, self.direction, at), self.is_tls, self.is_deleting)


def record(rig: Rig, *, is_tls: bool, is_deleting: bool) -> list[Wire]:
    """The four wires of a run without fault."""
    migration = Migration(rig, is_tls, is_deleting)
    source, dest = rig.source("", is_tls).port, rig.dest("", is_tls).port
    try:
        with Cutter(source) as old, Cutter(dest) as new:
            migration.run(source_port=old.port, dest_port=new.port)
        wrong, _ = migration.check()
        if wrong:
            raise AssertionError(f"without any fault: {wrong}")
    finally:
        migration.discard()
    return [
        Wire(
            end, way, is_tls, is_deleting, bytes(cable.streams[way]), tuple(cable.turns[way]), tuple(cable.starts[way])
        )
        for end, cable in (("source", old), ("destination", new))
        for way in (SENT, RECEIVED)
    ]


# --- where to cut -------------------------------------------------------------------------------


def places(wire: Wire) -> dict[str, list[int]]:
    """Octet counts by class: where a mistake of a reader or a writer would show."""
    found = {
        "connection": [at + more for at in wire.starts for more in (0, 1)] + [len(wire.octets) - 1, len(wire.octets)],
        "turn": list(wire.turns),
    }
    if wire.is_tls:
        edges = list(_records(wire))
        found["record begins"] = [begin + 1 for begin, _ in edges]
        found["record header"] = [begin + 5 for begin, _ in edges]
        found["record ends"] = [end - 1 for _, end in edges]
        found["record over"] = [end for _, end in edges]
    else:
        ends = [match.end() for match in re.finditer(rb"\r\n", wire.octets)]
        begins = [0, *ends]
        found["line begins"] = [at + 1 for at in begins[:-1]]
        found["line middle"] = [(begin + end) // 2 for begin, end in zip(begins, ends, strict=False)]
        found["before CR"] = [at - 2 for at in ends]
        found["between CR and LF"] = [at - 1 for at in ends]
        found["line over"] = ends
        found["dot"] = [match.start() + 3 for match in re.finditer(rb"\r\n\.", wire.octets)]
        literals = [(match.end(), match.end() + int(match[1])) for match in _LITERAL.finditer(wire.octets)]
        found["literal"] = [at + more for edges_ in literals for at in edges_ for more in (-1, 0, 1)]
    return {name: sorted({at for at in all_ if 0 <= at <= len(wire.octets)}) for name, all_ in found.items() if all_}


def _records(wire: Wire) -> Iterator[tuple[int, int]]:
    """Where each TLS record begins and ends (RFC 8446 §5.1). Connections follow one another but for lanes."""
    at = 0
    while at + 5 <= len(wire.octets):
        end = at + 5 + int.from_bytes(wire.octets[at + 3 : at + 5])
        yield at, end
        at = end


def quick_cases(wires: list[Wire], count: int, seed: int) -> list[Case]:
    """``count`` cases spread evenly over wires, classes of places and kinds."""
    rng = random.Random(seed)
    kinds = [Kind.RST, Kind.FIN, Kind.RST, Kind.FIN, Kind.SPLIT, Kind.RST, Kind.FIN, Kind.STALL]
    pools: list[tuple[Wire, list[int]]] = []
    for wire in wires:
        pools += [(wire, rng.sample(found, len(found))) for found in places(wire).values()]
    rng.shuffle(pools)
    cases: list[Case] = []
    while len(cases) < count and any(left for _, left in pools):
        for wire, left in pools:
            if left:
                cases.append(wire.case(kinds[len(cases) % len(kinds)], left.pop()))
    return cases[:count]


def full_cases(wires: list[Wire], seed: int) -> list[Case]:
    """Every octet of the clear run that deletes; of the others every few octets and every edge."""
    rng = random.Random(seed)
    cases: list[Case] = []
    for wire in wires:
        stride = (TLS_STRIDE if wire.is_tls else 1) * (1 if wire.is_deleting else KEEPING_STRIDE)
        offsets = set(range(0, len(wire.octets) + 1, stride))
        if wire.is_tls and wire.is_deleting:
            offsets.update(at for found in places(wire).values() for at in found)
        weights = {Kind.RST: 9, Kind.FIN: 9, Kind.STALL: 1, Kind.SPLIT: 1}
        kinds = rng.choices(list(weights), list(weights.values()), k=len(offsets))
        cases += [wire.case(kind, at) for kind, at in zip(kinds, sorted(offsets), strict=True)]
    rng.shuffle(cases)
    return cases


# --- playing --------------------------------------------------------------------------------------

_RIG: Rig | None = None  # of the parent: a worker is forked with it


def _play(case: Case) -> tuple[Case, Verdict]:
    assert _RIG is not None
    try:
        return case, play(_RIG, case)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a fault found
        return case, Verdict(True, 0, [f"{type(error).__name__}: {error}"])


def play_all(rig: Rig, cases: list[Case], report: Report) -> None:
    """Plays the cases in several processes; what they show goes into the report."""
    global _RIG
    _RIG = rig
    missed = doubled = 0
    kinds: Counter[str] = Counter()
    with ProcessPoolExecutor(WORKERS, multiprocessing.get_context("fork")) as pool:
        for case, verdict in pool.map(_play, cases, chunksize=8):
            report.violations += [f"{case}: {wrong}" for wrong in verdict.violations]
            missed += not verdict.has_cut
            doubled += verdict.doubled
            kinds[case.cut.kind.value] += verdict.has_cut
    report.cases += len(cases) - missed
    report.notes.append(", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())))
    if missed:
        report.notes.append(f"{missed} more were planned behind the last octet of their run")
    if doubled:
        report.notes.append(f"{doubled} copies too many, landed after the settling time and reported")


def cut(full: bool, seed: int, count: int = QUICK_CUTS) -> Report:
    """The cuts alone."""
    report = Report("cuts of the wire")
    began_s = time.monotonic()
    with rig() as there:
        ways = [(is_tls, is_deleting) for is_tls in (False, True) for is_deleting in (False, True)]
        wires = [wire for way in ways for wire in record(there, is_tls=way[0], is_deleting=way[1])]
        cases = full_cases(wires, seed) if full else quick_cases(wires, count, seed)
        play_all(there, cases, report)
    spent_s = time.monotonic() - began_s
    report.notes.append(f"{len(cases) / spent_s:.1f} runs a second")
    return report


def main(full: bool, seed: int) -> Report:
    """The cuts, and the streams in pieces."""
    report, pieces = cut(full, seed), cuts_pieces.main(full, seed)
    report.name = "cuts of the wire, streams in pieces"
    report.notes += [f"{report.cases} cuts, {pieces.cases} runs in pieces", *pieces.notes]
    report.cases += pieces.cases
    report.violations += pieces.violations
    return report
