"""Whether bars of one source continue a series of another: levels must agree, the first new return be plausible."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lake.duck import select
from lake.quality import flag, join_failures
from lake.series_rules import SERIES_COLUMNS
from lake.store import Lake, among

FILE_SOURCE = "file"
SPLICE_RULES = ("level_mismatch", "gap_before_series", "implausible_return")
_LEVEL_TOLERANCE = 0.05  # of the close, on sessions that both have
_PLAUSIBLE_SIGMAS = 8.0  # daily returns of 25 years and 32 series stay within 14; a missed split of 2:1 is over 30
_PLAUSIBLE_FLOOR = 0.05
_VOLATILITY_ROWS = 250
_BARS_A_SESSION = {"1d": 1, "1h": 6, "1m": 200}  # at least
_SERIES = ["symbol", "interval"]

_CURRENT = """
with versions as (
    select versions.*, preferred, string_split(fallbacks, ',') as fallbacks, own
    from versions
    left join (select symbol, source as preferred, fallbacks from instruments) using (symbol)
    cross join viewer
)

select {columns}
from versions
where case
    when own in ('file', preferred) or list_contains(fallbacks, own)
    then source in ('file', preferred) or list_contains(fallbacks, source)
    else source = own
end
qualify row_number() over (
    partition by symbol, interval, ts
    order by coalesce(source in ('file', preferred), false) desc, ingested_at desc, batch_id desc
) = 1
order by symbol, interval, ts
"""

_EVIDENCE = f"""
with firsts as (
    select symbol, interval, min(ts) as ts, arg_min(close, ts) as close, arg_min(adj_close, ts) as adj_close
    from judged
    group by all
),

levels as (
    select
        symbol, interval, count(*) as shared,
        median(judged.close / series.close) as level,
        median(judged.adj_close / series.adj_close) as adj_close_level
    from judged
    join series using (symbol, interval, ts)
    group by all
),

earlier as (
    select
        series.*,
        ln(series.close / lag(series.close) over bars) as close_return,
        ln(series.adj_close / lag(series.adj_close) over bars) as adj_close_return
    from series
    join firsts using (symbol, interval)
    where series.ts < firsts.ts
    window bars as (partition by symbol, interval order by series.ts)
    qualify row_number() over (partition by symbol, interval order by series.ts desc) <= {_VOLATILITY_ROWS}
),

before as (
    select
        symbol,
        interval,
        arg_max(close, ts) as last_close,
        arg_max(adj_close, ts) as last_adj_close,
        stddev_pop(close_return) as close_volatility,
        stddev_pop(adj_close_return) as adj_close_volatility
    from earlier
    group by all
)

select *
from firsts
semi join series using (symbol, interval)
left join levels using (symbol, interval)
left join before using (symbol, interval)
"""


def complete_adj_close(lake: Lake, bars: pd.DataFrame) -> pd.DataFrame:
    """Fill a missing `adj_close` with the close times the ratio of the two that the series has at that time.

    That is the ratio of the last known bar up to then, of the first one after it where there is none, and else 1.
    """
    missing = bars["adj_close"].isna() & bars[["symbol", "ts", "close"]].notna().all(axis=1)
    if not missing.any():
        return bars
    known = known_series(lake, bars[missing], 1).to_pandas().astype({"ts": bars["ts"].dtype}).sort_values("ts")
    known = known.assign(ratio=known["adj_close"] / known["close"])[[*_SERIES, "ts", "ratio"]]
    wanted = bars.loc[missing, [*_SERIES, "ts"]].astype(dict.fromkeys(_SERIES, "object"))
    wanted = wanted.sort_values("ts")
    ratio = pd.Series(np.nan, index=bars.index)
    for direction in ("backward", "forward"):
        found = pd.merge_asof(wanted, known, on="ts", by=_SERIES, direction=direction)["ratio"]
        ratio = ratio.fillna(found.set_axis(wanted.index))
    return bars.assign(adj_close=bars["adj_close"].where(~missing, bars["close"] * ratio.fillna(1.0)))


def splice_failures(lake: Lake, bars: pd.DataFrame, source: str) -> pd.DataFrame:
    """Rows of `source` that do not fit the series that they would extend or correct.

    A file is judged for every symbol, another source for those that name it as a fallback: what is neither that nor
    the preferred source never becomes part of a series. Each series is judged as a whole. Where sessions overlap, the
    median level ratios of closes and adjusted closes decide; else the return from the last known session to the first
    new one, against the series' own volatility.

    Returns
    -------
    Frame indexed like the refused rows of `bars`, with the columns `rule` and `reason`.
    """
    judged = bars if source == FILE_SOURCE else bars[bars["symbol"].isin(_continued_by(lake, source))]
    if judged.empty:
        return join_failures()
    doubtful = _misfits(lake, judged, 1, 0.0)  # most returns are plausible for any series, so few are read far back
    if doubtful.empty:
        return doubtful
    judged = judged[judged["symbol"].isin(judged["symbol"][doubtful.index])]
    return _misfits(lake, judged, _VOLATILITY_ROWS + 1, _PLAUSIBLE_SIGMAS)


def known_series(lake: Lake, bars: pd.DataFrame, rows: int) -> pa.Table:
    """`current_series` of `bars`, each from at least `rows` bars before the first of `bars` on, where it has so many.

    That is read from a short time back first; series with fewer bars in it are read as a whole.
    """
    symbols, first = bars["symbol"].dropna().astype("object").unique(), bars["ts"].min()
    if pd.isna(first):
        return current_series(lake, symbols)
    sessions = rows / min(_BARS_A_SESSION.get(interval, 1) for interval in bars["interval"].unique())
    first = first.to_pydatetime()
    recent = current_series(lake, symbols, first - timedelta(days=10 + 1.6 * sessions))
    earlier = recent.filter(pc.field("ts") < first).group_by(_SERIES).aggregate([([], "count_all")]).to_pandas()
    wanted = bars[_SERIES].dropna().drop_duplicates().astype("object").merge(earlier, how="left")
    short = wanted.loc[~(wanted["count_all"] >= rows), "symbol"].unique()
    if not len(short):
        return recent
    return pa.concat_tables([recent.filter(~pc.field("symbol").isin(short)), current_series(lake, short)])


def current_series(lake: Lake, symbols: np.ndarray, since: datetime | None = None) -> pa.Table:
    """Current truth of some series: preferred source and files, fallbacks where these have nothing; latest versions.

    Returns
    -------
    Table with the columns symbol, interval, ts, close, adj_close, source, ordered by symbol, interval and ts.
    """
    condition = among("symbol", symbols)
    if since is not None:
        condition &= pc.field("ts") >= since
    return _current(lake, condition, [*_SERIES, "ts", "close", "adj_close", "source"])


def known_bars(
    lake: Lake, source: str, symbols: np.ndarray, interval: str, *, since: datetime, until: datetime
) -> pd.DataFrame:
    """Bars of an interval, between two times, of the series that `source` continues: the current truth, or the bars of
    the source itself where it has no part in that.

    Returns
    -------
    Frame with the columns `lake.series_rules.SERIES_COLUMNS`.
    """
    condition = among("symbol", symbols) & (pc.field("interval") == interval)
    condition &= (pc.field("ts") >= since) & (pc.field("ts") <= until)
    return _current(lake, condition, SERIES_COLUMNS, source).to_pandas()


def _current(lake: Lake, condition: pc.Expression, columns: Sequence[str], source: str = FILE_SOURCE) -> pa.Table:
    """The rows that are true for `source`: for a file, which may continue every series, the current truth."""
    needed = dict.fromkeys([*columns, *_SERIES, "ts", "source", "ingested_at", "batch_id"])
    return select(
        _CURRENT.format(columns=", ".join(columns)),
        versions=lake.read("raw/bars", list(needed), condition),
        instruments=lake.read("raw/instruments", ["symbol", "source", "fallbacks"]),
        viewer=pa.table({"own": [source]}),
    )


def _continued_by(lake: Lake, source: str) -> list[str]:
    instruments = lake.read("raw/instruments", ["symbol", "fallbacks"]).to_pylist()
    return [row["symbol"] for row in instruments if source in row["fallbacks"].split(",")]


def _misfits(lake: Lake, bars: pd.DataFrame, rows: int, sigmas: float) -> pd.DataFrame:
    series = known_series(lake, bars, rows)
    new = pa.Table.from_pandas(bars[[*_SERIES, "ts", "close", "adj_close"]], preserve_index=False)
    failures = []
    for evidence in select(_EVIDENCE, judged=new, series=series).to_pylist():
        if misfit := _misfit(evidence, sigmas):
            of_series = (bars["symbol"] == evidence["symbol"]) & (bars["interval"] == evidence["interval"])
            failures.append(flag(of_series, *misfit))
    return join_failures(*failures)


def _misfit(evidence: dict[str, Any], sigmas: float) -> tuple[str, str] | None:
    if evidence["shared"]:
        for prices, level, hint in (
            ("closes", evidence["level"], "is it adjusted for splits and dividends in another way?"),
            ("adjusted closes", evidence["adj_close_level"], "leave them out, and they follow from the known ones"),
        ):
            if abs(math.log(level)) > math.log1p(_LEVEL_TOLERANCE):
                shared = f"{evidence['shared']} shared sessions"
                return "level_mismatch", f"{prices} are {level:.4g} times the known ones on {shared}; {hint}"
        return None
    if evidence["last_close"] is None:
        return "gap_before_series", "it ends before the known series starts and shares no session with it"
    for column in ("close", "adj_close"):
        new, last = evidence[column], evidence[f"last_{column}"]
        limit = max(sigmas * (evidence[f"{column}_volatility"] or 0.0), _PLAUSIBLE_FLOOR)
        if abs(math.log(new / last)) > limit:
            return (
                "implausible_return",
                f"{column} {new:g} after {last:g} is a log return of {math.log(new / last):.3f}, the limit for this "
                f"series is {limit:.3f}; is it adjusted in another way?",
            )
    return None
