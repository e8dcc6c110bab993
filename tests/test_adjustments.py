"""Adjusted closes against splits and dividends: what one of them says without the other is found."""

import pandas as pd
import pyarrow as pa
import pytest

from lake.adjustments import unexplained_adjustments
from lake.store import Lake

CLOSES = [100.0, 98.0, 49.0, 50.0]  # a dividend of 2 on the second day, a split in two on the third
ADJUSTED = [49.0, 49.0, 49.0, 50.0]
ACTIONS = [(1, "dividend", 0.98), (2, "split", 0.5)]


def write(
    lake: Lake, adj_close: list[float], actions: list[tuple[int, str, float | None]], source: str = "yahoo"
) -> None:
    days = pd.bdate_range("2024-01-02", periods=len(CLOSES), tz="UTC")
    bars = pd.DataFrame(
        {"symbol": "ABC", "interval": "1d", "ts": days, "close": CLOSES, "adj_close": adj_close, "source": "yahoo"}
    )
    rows = [("ABC", days[at], kind, factor, source) for at, kind, factor in actions]
    columns = ["symbol", "ts", "kind", "factor", "source"]
    lake.replace("market/bars", pa.Table.from_pandas(bars))
    lake.replace("market/corporate_actions", pa.Table.from_pandas(pd.DataFrame(rows, columns=columns)))


def test_actions_that_make_the_adjusted_close_are_in_order(lake: Lake) -> None:
    write(lake, ADJUSTED, ACTIONS)
    assert unexplained_adjustments(lake) == []


@pytest.mark.parametrize(
    ("adj_close", "actions", "day", "steps"),
    [
        (ADJUSTED, ACTIONS[:1], 4, (2.0, 1.0)),  # the source adjusts for a split that nobody has told
        (CLOSES, ACTIONS[1:], 4, (1.0, 2.0)),  # a split that the source does not adjust for
        (ADJUSTED, [(1, "dividend", 0.9), *ACTIONS[1:]], 3, (1 / 0.98, 1 / 0.9)),
    ],
)
def test_what_does_not_agree_is_listed(
    lake: Lake, adj_close: list[float], actions: list[tuple[int, str, float]], day: int, steps: tuple[float, float]
) -> None:
    write(lake, adj_close, actions)
    (found,) = unexplained_adjustments(lake)
    assert (found["symbol"], found["source"], found["ts"].day) == ("ABC", "yahoo", day)
    assert (found["step"], found["step_of_actions"]) == pytest.approx(steps)


def test_a_dividend_above_the_price_is_listed_whatever_else_happens_that_day(lake: Lake) -> None:
    write(lake, ADJUSTED, [*ACTIONS, (2, "dividend", None)])
    (found,) = unexplained_adjustments(lake)
    assert (found["ts"].day, found["step"], found["step_of_actions"]) == (4, pytest.approx(2), None)


def test_actions_of_another_source_explain_nothing(lake: Lake) -> None:
    write(lake, CLOSES, ACTIONS, source="bokeh")
    assert unexplained_adjustments(lake) == []
