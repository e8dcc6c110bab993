"""Files of splits and dividends: told by their columns, every row judged alone, kept like what providers deliver."""

import pytest

from lake.ingest import unbalanced_batches
from lake.landing import ingest_content
from lake.sources.files import UnreadableFileError
from lake.store import Lake

GOOD = ("Symbol;Date;Kind;Value;Currency", "aapl;2020-08-31;Split;4;", "AAPL;2020-02-07;dividend;0.77;eur")


def test_good_rows_come_in_once_and_bad_ones_are_rejected_alone(lake: Lake) -> None:
    bad = ("AAPL;2020-11-06;bonus;1;USD", "AAPL;2020-11-06;dividend;-1;USD", "AAPL;soon;dividend;1;USD", "AAPL;x")
    content = "\n".join((*GOOD, *bad)).encode()
    result = ingest_content(lake, content, "actions.csv")
    assert (result.accepted, result.rejected) == (2, 4)
    rows = lake.read("raw/corporate_actions").sort_by("ts").to_pylist()
    assert [(row["symbol"], row["kind"], row["value"], row["currency"], row["source"]) for row in rows] == [
        ("AAPL", "dividend", 0.77, "EUR", "file"),
        ("AAPL", "split", 4.0, None, "file"),
    ]
    rejects = lake.read("raw/rejects").sort_by("row_number").to_pylist()
    assert [reject["rule"] for reject in rejects] == ["kind_known", "value_not_negative", "unreadable", "unreadable"]
    assert "'soon' cannot be read" in rejects[2]["reason"]
    assert ingest_content(lake, content, "actions.csv").accepted == 0
    assert unbalanced_batches(lake) == []


def test_actions_are_announced_and_withdrawn(lake: Lake) -> None:
    announced = b"symbol,date,kind,value\nIBM,2200-02-10,dividend,1.62\n"
    assert ingest_content(lake, announced, "actions.csv").accepted == 1
    assert ingest_content(lake, announced.replace(b"1.62", b"0"), "withdrawn.csv").accepted == 1


def test_without_a_currency_dividends_are_in_dollars(lake: Lake) -> None:
    ingest_content(lake, b"symbol,date,kind,value\nIBM,2020-02-07,dividend,1.62\n", "actions.csv")
    assert lake.read("raw/corporate_actions")["currency"].to_pylist() == ["USD"]


def test_dates_that_can_be_read_in_two_ways_are_refused(lake: Lake) -> None:
    with pytest.raises(UnreadableFileError, match="day and month"):
        ingest_content(lake, b"symbol,date,kind,value\nIBM,02/07/2020,dividend,1.62\n", "actions.csv")


def test_bars_that_have_such_columns_too_stay_bars(lake: Lake) -> None:
    ingest_content(lake, b"symbol,date,kind,value,close\nNEWCO,2020-02-07,stock,1.62,10\n", "bars.csv")
    assert (lake.row_count("raw/bars"), lake.row_count("raw/corporate_actions")) == (1, 0)
