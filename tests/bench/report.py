"""What the bench prints: ratios with their spread, as a table of Markdown and as bars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from statistics import median

from .runs import Measured


@dataclass(frozen=True)
class Beside:
    """What a row is compared with, in the same rounds: how many times as fast the row is, or as long it takes."""

    runs: list[Measured]
    words: str = "of the limit"
    wanted: str = ""
    is_duration: bool = False

    def ratio(self, runs: list[Measured]) -> float:
        return self._ratio(median(run.seconds for run in self.runs), median(run.seconds for run in runs))

    def spread(self, runs: list[Measured]) -> tuple[float, float]:
        """The lowest and the highest ratio of one round."""
        pairs = zip(self.runs, runs, strict=True)
        ratios = [self._ratio(other.seconds, run.seconds) for other, run in pairs]
        return min(ratios), max(ratios)

    def _ratio(self, other_s: float, own_s: float) -> float:
        return own_s / other_s if self.is_duration else other_s / own_s


@dataclass
class Row:
    """One thing that was measured, several times; ``wanted``: of it alone."""

    mail: str
    round_trip_ms: int
    what: str
    messages: int
    runs: list[Measured] = field(default_factory=list)
    beside: Sequence[Beside] = ()
    wanted: str = ""

    @property
    def seconds(self) -> float:
        return median(run.seconds for run in self.runs)

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds


COLUMNS = (
    "mail",
    "round trip",
    "what",
    "messages",
    "seconds",
    "messages/s",
    "ratio (min-max)",
    "CPU ms a message",
    "peak MB",
    "wanted",
)


def table(rows: Sequence[Row]) -> str:
    return _lines(COLUMNS, [_cells(row) for row in rows]) if rows else ""


def _lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *rows))


def _cells(row: Row) -> tuple[str, ...]:
    cpu_s = median(run.cpu_s for run in row.runs)
    peak_mb = max(run.peak_mb for run in row.runs)
    return (
        row.mail,
        f"{row.round_trip_ms} ms",
        row.what,
        f"{row.messages:,}",
        f"{row.seconds:.2f}",
        f"{row.rate:,.0f}",
        "; ".join(_compared(one, row.runs) for one in row.beside),
        f"{1000 * cpu_s / row.messages:.3f}" if cpu_s else "",
        f"{peak_mb:.0f}" if peak_mb else "",
        "; ".join(filter(None, (*(one.wanted for one in row.beside), row.wanted))),
    )


def _compared(one: Beside, runs: list[Measured]) -> str:
    low, high = one.spread(runs)
    spread = f" ({low:.2f}-{high:.2f})" if len(runs) > 1 else ""
    return f"{one.ratio(runs):.2f}{spread} {one.words}"


def peer_table(rows: Iterable[Row], peers: Sequence[str]) -> str:
    """How many times as many messages a second popferry moves, by mail and round trip; "" without a peer's row."""
    rates: dict[tuple[str, int], dict[str, float]] = {}
    for row in rows:
        rates.setdefault((row.mail, row.round_trip_ms), {})[row.what.partition(",")[0]] = row.rate
    there = [peer for peer in peers if any(peer in one for one in rates.values())]
    lines = [
        (mail, f"{ms} ms", f"{one['popferry']:,.0f}", *(_times(one["popferry"], one.get(peer)) for peer in there))
        for (mail, ms), one in rates.items()
        if "popferry" in one and any(peer in one for peer in there)
    ]
    head = ("mail", "round trip", "popferry, messages/s", *(f"times {peer}" for peer in there))
    return _lines(head, lines) if lines else ""


def _times(own: float, other: float | None) -> str:
    return f"{own / other:,.1f}" if other else ""


BAR_W, BAR_H, LEFT, TOP = 360, 18, 260, 40
COLOURS = {"popferry": "#1b6ca8"}


def chart(rows: Sequence[Row]) -> str:
    """Messages a second as bars, one group for each mail and round trip; the scale is that of the fastest."""
    shown = [row for row in rows if row.runs]
    height = TOP + len(shown) * (BAR_H + 6) + 20
    top_rate = max(row.rate for row in shown)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + BAR_W + 120} {height}" role="img" '
        'font-family="sans-serif" font-size="12">',
        "<title>Messages a second</title>",
        f'<rect width="{LEFT + BAR_W + 120}" height="{height}" fill="#ffffff"/>',
        f'<text x="10" y="22" font-size="15">Messages a second ({shown[0].mail} mail and others, by round trip)</text>',
    ]
    for index, row in enumerate(shown):
        y = TOP + index * (BAR_H + 6)
        width = max(1.0, BAR_W * row.rate / top_rate)
        label = escape(f"{row.mail}, {row.round_trip_ms} ms: {row.what}")
        colour = COLOURS.get(row.what.partition(" ")[0], "#9aa5b1")
        parts += [
            f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end">{label}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR_H}" fill="{colour}"/>',
            f'<text x="{LEFT + width + 6:.1f}" y="{y + 13}">{row.rate:,.0f}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
