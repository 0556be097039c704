"""What the bench prints: ratios with their spread, as a table of Markdown and as bars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from statistics import median

from .runs import Measured


@dataclass
class Row:
    """One thing that was measured, several times, beside its limit: both lists run by run, in the same order."""

    mail: str
    round_trip_ms: int
    what: str
    messages: int
    runs: list[Measured] = field(default_factory=list)
    against: list[Measured] = field(default_factory=list)  # the limit, in the same rounds
    note: str = ""

    @property
    def seconds(self) -> float:
        return median(run.seconds for run in self.runs)

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds

    @property
    def ratio(self) -> float | None:
        """To the limit: 1 is as fast; None where there is none."""
        return median(run.seconds for run in self.against) / self.seconds if self.against else None

    @property
    def spread(self) -> tuple[float, float]:
        """The lowest and the highest ratio of one round."""
        ratios = [limit.seconds / run.seconds for limit, run in zip(self.against, self.runs, strict=True)]
        return min(ratios), max(ratios)


COLUMNS = (
    "mail",
    "round trip",
    "what",
    "messages",
    "seconds",
    "messages/s",
    "of the limit (min-max)",
    "CPU ms a message",
    "peak MB",
)


def table(rows: Iterable[Row]) -> str:
    lines = [COLUMNS, ("---",) * len(COLUMNS), *map(_cells, rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cells(row: Row) -> tuple[str, ...]:
    ratio = ""
    if row.ratio is not None:
        low, high = row.spread
        ratio = f"{row.ratio:.2f} ({low:.2f}-{high:.2f})"
    cpu_s = median(run.cpu_s for run in row.runs)
    peak_mb = max(run.peak_mb for run in row.runs)
    return (
        row.mail,
        f"{row.round_trip_ms} ms",
        row.what,
        f"{row.messages:,}",
        f"{row.seconds:.2f}",
        f"{row.rate:,.0f}",
        ratio,
        f"{1000 * cpu_s / row.messages:.3f}" if cpu_s else "",
        f"{peak_mb:.0f}" if peak_mb else "",
    )


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
