"""What is published beside dbt's own documentation: feature dictionary, picture of the lineage, lineage of columns."""

import csv
import re
from typing import Any

import pytest

from lake.column_lineage import column_lineage
from lake.diagram import lineage_svg
from lake.dictionary import FIELDS, as_csv, as_page, dictionary, incomplete

BARS = {"market/bars": ["symbol", "interval", "ts", "high", "close", "volume"], "raw/flags": ["symbol", "ts", "rule"]}
SMA = {"formula": "mean of <n> closes", "unit": "price", "source": "TA-Lib SMA", "window": 20, "first_valid_row": 20}


def model(name: str, above: list[str], kind: str = "delta", **columns: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    described = {column: {"description": f"{column}.", "meta": meta} for column, meta in columns.items()}
    return f"model.lakehouse.{name}", {
        "schema": "market",
        "name": name,
        "resource_type": "model",
        "config": {"materialized": kind},
        "columns": described,
        "depends_on": {"nodes": above},
    }


def manifest(**columns: dict[str, Any]) -> dict[str, Any]:
    nodes = [
        model("stg_bars", ["source.lakehouse.raw.bars"], "ephemeral"),
        model("bars", ["model.lakehouse.stg_bars", "source.lakehouse.raw.flags"]),
        model("indicators", ["model.lakehouse.bars"], **columns),
        model("features", ["model.lakehouse.bars", "model.lakehouse.indicators"]),
    ]
    report = {"depends_on": {"nodes": ["model.lakehouse.features"]}}
    return {"nodes": dict(nodes), "exposures": {"exposure.lakehouse.drift_report": report}}


def test_the_dictionary_says_of_a_column_what_its_yml_says() -> None:
    entries = dictionary(manifest(sma_20={**SMA, "null_rule": "warm-up"}))
    assert incomplete(entries) == []
    (row,) = csv.DictReader(as_csv(entries).splitlines())
    assert (row["table"], row["column"], row["description"]) == ("market/indicators", "sma_20", "sma_20.")
    assert [row[field] for field in FIELDS] == ["mean of <n> closes", "price", "TA-Lib SMA", "20", "20", "warm-up"]
    page = as_page(entries)
    assert "mean of &lt;n&gt; closes" in page
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)


def test_an_entry_that_is_not_complete_is_named() -> None:
    assert incomplete(dictionary(manifest(sma_20=SMA, rsi_14={"unit": "0 to 100"}))) == [
        "market/indicators.sma_20: null_rule",
        "market/indicators.rsi_14: formula, source, window, first_valid_row, null_rule",
    ]


def test_the_picture_shows_each_table_and_reader_once_from_left_to_right() -> None:
    picture = lineage_svg(manifest())
    places = {label: float(x) for x, label in re.findall(r'<text x="([\d.]+)"[^>]*>([^<]+)<', picture)}
    tables = ["raw.bars", "market.bars", "market.indicators", "market.features", "drift report"]
    assert sorted(places, key=places.__getitem__) == ["raw.bars", "raw.flags", *tables[1:]]
    assert len({places[table] for table in tables}) == len(tables)
    assert picture.count("<path") == 6
    assert "stg_bars" not in picture


@pytest.mark.parametrize(
    ("expression", "columns"),
    [
        ("close", ["close"]),
        ("lag(close) over (partition by symbol order by ts)", ["close"]),
        ("row_number() over (partition by symbol order by ts)", []),
        ("case when close > 0 then volume end", ["close", "volume"]),
        ("(select max(volume) from market.bars)", ["volume"]),
    ],
)
def test_a_column_comes_from_what_its_value_is_made_of(expression: str, columns: list[str]) -> None:
    found = column_lineage(f"select {expression} as x from market.bars", BARS)
    assert found == {"x": [("market/bars", column) for column in columns]}


def test_lineage_goes_through_lists_names_and_stars() -> None:
    sql = """
        with bars as (select *, close - lag(close) over w as change from lake.market.bars window w as (order by ts)),
        lists as (
            select symbol, list(ts order by ts) as ts, list(greatest(change, 0) order by ts) as gain,
                list(volume order by ts) as volume
            from bars group by symbol
        ),
        smoothed as (
            select symbol, ts, smooth(gain, 1.0 / 14, 14, 0, null) as average_gain,
                list_transform(list_zip(average_gain, volume), lambda pair: pair[1] * pair[2]) as weighted
            from lists
        ),
        flat as (select symbol, unnest(ts) as ts, unnest(average_gain) as gain, unnest(weighted) as w from smoothed)
        select bars.* exclude (high, interval, volume), gain, w / close as w, rule
        from flat join bars using (symbol, ts) left join raw.flags using (symbol, ts)
    """
    found = {name: [".".join(origin) for origin in origins] for name, origins in column_lineage(sql, BARS).items()}
    assert found == {
        "symbol": ["market/bars.symbol"],
        "ts": ["market/bars.ts"],
        "close": ["market/bars.close"],
        "change": ["market/bars.close"],
        "gain": ["market/bars.close"],
        "w": ["market/bars.close", "market/bars.volume"],
        "rule": ["raw/flags.rule"],
    }


def test_lineage_goes_through_lists_of_structs_and_back_to_rows() -> None:
    sql = """
        with bars as (
            select upstream.*, upstream.ts < _scope.first_ts as is_lookback
            from market.bars as upstream join _scope on upstream.symbol = _scope.symbol
        ),
        packed as (
            select symbol, list_transform(series, lambda bar: bar.ts) as ts,
                list_transform(series, lambda bar: bar.high) as high,
                list_transform(series, lambda bar: bar.close) as close
            from (
                select symbol, list_sort(list({'ts': ts, 'high': high, 'close': close})) as series
                from bars group by symbol
            )
        ),
        counted as (select symbol, count(*) filter (where is_lookback) as lookback from bars group by symbol),
        computed as (
            select symbol, ts,
                list_transform(range(1, len(ts) + 1), lambda i: case when high[i] > close[i] then high[i] end) as top,
                rolling_mean(close, 5, lookback) as sma_5
            from packed inner join counted using (symbol)
        )
        select symbol, unnest(columns(* exclude (symbol))) from computed
    """
    assert column_lineage(sql, BARS) == {
        "symbol": [("market/bars", "symbol")],
        "ts": [("market/bars", "ts")],
        "top": [("market/bars", "close"), ("market/bars", "high")],
        "sma_5": [("market/bars", "close")],
    }


@pytest.mark.parametrize("sql", ["select from where", "select 1 as a union all by name select 2 as a"])
def test_sql_beyond_the_parser_has_no_lineage_and_says_so(sql: str) -> None:
    with pytest.raises(ValueError, match="no column lineage"):
        column_lineage(sql, BARS)
