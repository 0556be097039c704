"""What the bench makes of seconds that were measured."""

from __future__ import annotations

from .report import Beside, Row, peer_table, table
from .runs import Measured


def runs(*seconds: float) -> list[Measured]:
    return [Measured(one) for one in seconds]


def last_cells(row: Row) -> list[str]:
    return [cell.strip() for cell in table([row]).splitlines()[-1].split("|")[1:-1]]


def test_a_row_is_told_by_its_ratio_with_the_lowest_and_the_highest_of_a_round() -> None:
    row = Row("small", 20, "popferry", 100, runs(2.0, 4.0, 1.0), [Beside(runs(1.0, 1.0, 1.0), wanted=">= 0.7")])
    assert last_cells(row)[4:7] == ["2.00", "50", "0.50 (0.25-1.00) of the limit"]
    assert last_cells(row)[-1] == ">= 0.7"


def test_a_duration_is_told_by_how_many_times_as_long_it_takes() -> None:
    row = Row("tiny", 0, "popferry", 10, runs(3.0), [Beside(runs(2.0), "times as long", is_duration=True)])
    assert last_cells(row)[6] == "1.50 times as long"


def test_peers_are_compared_by_messages_a_second_of_the_same_mail_and_round_trip() -> None:
    rows = [
        Row("small", 0, "popferry", 100, runs(1.0)),
        Row("small", 20, "popferry", 100, runs(2.0)),
        Row("small", 20, "popferry over TLS", 100, runs(9.0)),
        Row("small", 20, "slow, POP3 to Maildir", 10, runs(1.0)),
        Row("mixed", 20, "slow, POP3 to Maildir", 10, runs(1.0)),
    ]
    lines = peer_table(rows, ["slow", "absent"]).splitlines()
    assert lines[0] == "| mail | round trip | popferry, messages/s | times slow |"
    assert lines[2:] == ["| small | 20 ms | 50 | 5.0 |"]


def test_nothing_measured_is_no_table() -> None:
    assert table([]) == peer_table([], ["slow"]) == ""
