"""Whether bars of one source continue a series of another: levels must agree, the first new return be plausible."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lake.duck import select
from lake.quality import join_failures
from lake.series_rules import SERIES_COLUMNS
from lake.store import Lake

FILE_SOURCE = "file"
SPLICE_RULES = ("level_mismatch", "gap_before_series", "implausible_return")
_LEVEL_TOLERANCE = 0.05  # of the close, on sessions that both have
_PLAUSIBLE_SIGMAS = 8.0  # daily returns of 25 years and 32 series stay within 14; a missed split of 2:1 is over 30
_PLAUSIBLE_FLOOR = 0.05
_VOLATILITY_ROWS = 250
_SERIES = ["symbol", "interval"]

_CONTINUED = f"""
with versions as (
    select versions.*, preferred, string_split(fallbacks, ',') as fallbacks, own
    from versions
    left join (select symbol, source as preferred, fallbacks from instruments) using (symbol)
    cross join batch
)

select {", ".join(SERIES_COLUMNS)}
from versions
where case
    when own in ('file', preferred) or list_contains(fallbacks, own)
    then source in ('file', preferred) or list_contains(fallbacks, source)
    else source = own
end
qualify row_number() over (
    partition by symbol, ts
    order by coalesce(source in ('file', preferred), false) desc, ingested_at desc, batch_id desc
) = 1
"""


def complete_adj_close(lake: Lake, bars: pd.DataFrame) -> pd.DataFrame:
    """Fill a missing `adj_close` with the close times the series' last known ratio of the two (1 for a new series)."""
    missing = bars["adj_close"].isna() & bars["close"].notna()
    if not missing.any():
        return bars
    current = current_series(lake, bars["symbol"].dropna().unique())
    last = current.drop_duplicates(_SERIES, keep="last").set_index(_SERIES)
    known = (last["adj_close"] / last["close"]).rename("ratio")
    ratio = bars[_SERIES].join(known, on=_SERIES)["ratio"].fillna(1.0)
    return bars.assign(adj_close=bars["adj_close"].where(~missing, bars["close"] * ratio))


def splice_failures(lake: Lake, bars: pd.DataFrame, source: str) -> pd.DataFrame:
    """Rows of `source` that do not fit the series that they would extend or correct.

    A file is judged for every symbol, another source for those that name it as a fallback: what is neither that nor
    the preferred source never becomes part of a series. Each series is judged as a whole. Where sessions overlap, the
    median level ratio of the closes decides; else the return from the last known session to the first new one,
    against the series' own volatility.

    Returns
    -------
    Frame indexed like the refused rows of `bars`, with the columns `rule` and `reason`.
    """
    judged = bars if source == FILE_SOURCE else bars[bars["symbol"].isin(_continued_by(lake, source))]
    current = current_series(lake, judged["symbol"].unique())
    failures = []
    for (symbol, interval), rows in judged.groupby(_SERIES, observed=True):
        series = current[(current["symbol"] == symbol) & (current["interval"] == interval)]
        verdict = _misfit(series, rows.sort_values("ts")) if len(series) else None
        if verdict is not None:
            failures.append(pd.DataFrame({"rule": verdict[0], "reason": verdict[1]}, index=rows.index))
    return join_failures(*failures)


def current_series(lake: Lake, symbols: np.ndarray) -> pd.DataFrame:
    """Current truth of some series: preferred source and files, fallbacks where these have nothing; latest versions.

    Returns
    -------
    Frame with the columns symbol, interval, ts, close, adj_close, source, ordered by symbol, interval and ts.
    """
    wanted = pa.array(symbols, pa.string())
    instruments = lake.read("raw/instruments", ["symbol", "source", "fallbacks"]).to_pandas().set_index("symbol")
    columns = ["symbol", "interval", "ts", "close", "adj_close", "source", "ingested_at"]
    rows = lake.read("raw/bars", columns, pc.field("symbol").isin(wanted)).to_pandas()
    direct = (rows["source"] == FILE_SOURCE) | (rows["source"] == rows["symbol"].map(instruments["source"]))
    fallbacks = {symbol: names.split(",") for symbol, names in instruments["fallbacks"].items()}
    named = [s in fallbacks.get(symbol, ()) for symbol, s in zip(rows["symbol"], rows["source"], strict=True)]
    rows = rows.assign(direct=direct)[direct | np.array(named, dtype=bool)]
    rows = rows.sort_values([*_SERIES, "ts", "direct", "ingested_at"], kind="stable")
    return rows.drop_duplicates([*_SERIES, "ts"], keep="last")[columns[:6]]


def known_bars(
    lake: Lake, source: str, symbols: np.ndarray, interval: str, *, since: pd.Timestamp, until: pd.Timestamp
) -> pd.DataFrame:
    """Bars, between two times, of the series that `source` continues: the current truth, or its own bars where it has
    no part in that.

    Returns
    -------
    Frame with the columns `lake.series_rules.SERIES_COLUMNS`.
    """
    condition = (
        pc.field("symbol").isin(pa.array(symbols, pa.string()))
        & (pc.field("interval") == interval)
        & (pc.field("ts") >= since)
        & (pc.field("ts") <= until)
    )
    columns = [*SERIES_COLUMNS, "source", "ingested_at", "batch_id"]
    return select(
        _CONTINUED,
        versions=lake.read("raw/bars", columns, condition),
        instruments=lake.read("raw/instruments", ["symbol", "source", "fallbacks"]),
        batch=pa.table({"own": [source]}),
    ).to_pandas()


def _continued_by(lake: Lake, source: str) -> list[str]:
    instruments = lake.read("raw/instruments", ["symbol", "fallbacks"]).to_pylist()
    return [row["symbol"] for row in instruments if source in row["fallbacks"].split(",")]


def _misfit(series: pd.DataFrame, rows: pd.DataFrame) -> tuple[str, str] | None:
    overlap = rows.merge(series, on="ts", suffixes=("", "_known"))
    if len(overlap):
        ratio = float((overlap["close"] / overlap["close_known"]).median())
        if abs(np.log(ratio)) > np.log1p(_LEVEL_TOLERANCE):
            return (
                "level_mismatch",
                f"closes are {ratio:.4g} times the known ones on {len(overlap)} shared sessions; "
                "is it adjusted for splits and dividends in another way?",
            )
        return None
    earlier = series[series["ts"] < rows["ts"].iloc[0]]
    if earlier.empty:
        return "gap_before_series", "it ends before the known series starts and shares no session with it"
    for column in ("close", "adj_close"):
        first_return = float(np.log(rows[column].iloc[0] / earlier[column].iloc[-1]))
        limit = _plausible_return(earlier[column])
        if abs(first_return) > limit:
            return (
                "implausible_return",
                f"{column} {rows[column].iloc[0]:g} after {earlier[column].iloc[-1]:g} is a log return of "
                f"{first_return:.3f}, the limit for this series is {limit:.3f}; is it adjusted in another way?",
            )
    return None


def _plausible_return(prices: pd.Series) -> float:
    returns = np.diff(np.log(prices.iloc[-_VOLATILITY_ROWS - 1 :].to_numpy()))
    sigma = float(returns.std()) if len(returns) > 1 else 0.0
    return max(_PLAUSIBLE_SIGMAS * sigma, _PLAUSIBLE_FLOOR)
