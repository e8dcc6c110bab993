"""What others would write for `market/indicators`: a TA-Lib loop, pandas and polars, from the same bars.

Each is given the bars sorted by symbol and time, with the return of the market index beside them, and writes its table
with a plain `write_deltalake`, then once more as the lake writes. Definitions and seeds are those of TA-Lib.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import talib
from deltalake import write_deltalake

from benchmarks.walks import INDEX
from lake.duck import connect
from lake.store import Lake

Columns = dict[str, np.ndarray]
YEAR = 252
KEY = ("symbol", "interval", "ts")
RESULTS = (
    *(f"sma_{n}" for n in (5, 10, 20, 50, 100, 200)),
    *(f"ema_{n}" for n in (5, 10, 12, 20, 26, 50, 200)),
    *("wma_20", "macd", "macd_signal", "macd_hist", "rsi_14", "stoch_k_14", "stoch_d_3", "williams_r_14", "cci_20"),
    *("roc_5", "roc_10", "roc_20", "momentum_10", "adx_14", "plus_di_14", "minus_di_14"),
    *(f"bb_{what}_20" for what in ("middle", "upper", "lower", "percent_b", "bandwidth")),
    *("atr_14", "natr_14", "true_range", "keltner_upper_20", "keltner_lower_20"),
    *("donchian_upper_20", "donchian_lower_20", "obv", "vwap_20", "mfi_14", "adl"),
    *(f"log_return_{n}" for n in (1, 5, 20)),
    *(f"realized_vol_{n}" for n in (5, 20, 60)),
    *("parkinson_vol_20", "garman_klass_vol_20", "drawdown", "price_zscore_20", "volume_zscore_20"),
    *("beta_60", "corr_60"),
)
BARS = ("open", "high", "low", "close", "volume", "index_return")


def talib_loop(bars: pa.Table) -> pa.Table:
    """TA-Lib, symbol by symbol on one thread; numpy where it has no such function."""
    values = {name: bars[name].to_numpy() for name in BARS}
    results: dict[str, np.ndarray] = {}
    for rows in _series(bars):
        for name, column in _of_talib({name: column[rows] for name, column in values.items()}).items():
            results.setdefault(name, np.empty(bars.num_rows))[rows] = column
    return _with_key(bars, results)


def _of_talib(bars: Columns) -> Columns:
    opens, high, low, close, volume, index = (bars[name] for name in BARS)
    ta, typical, scale = talib, (high + low + close) / 3, np.sqrt(YEAR)
    macd, signal, hist = ta.MACD(close, 12, 26, 9)
    stoch_k, stoch_d = ta.STOCHF(high, low, close, 14, 3, 0)
    upper, middle, lower = ta.BBANDS(close, 20, 2, 2)
    ema_20, range_10 = ta.EMA(close, 20), ta.ATR(high, low, close, 10)
    logs, returns = np.log(close), {}
    for n in (1, 5, 20):
        returns[n] = np.full(len(close), np.nan)
        returns[n][n:] = logs[n:] - logs[:-n]
    own, span, body = returns[1], np.log(high / low) ** 2, np.log(close / opens) ** 2
    mean_index = ta.SMA(index, 60)
    return {
        **{f"sma_{n}": ta.SMA(close, n) for n in (5, 10, 20, 50, 100, 200)},
        **{f"ema_{n}": ta.EMA(close, n) for n in (5, 10, 12, 26, 50, 200)},
        "ema_20": ema_20,
        "wma_20": ta.WMA(close, 20),
        "macd": macd,
        "macd_signal": signal,
        "macd_hist": hist,
        "rsi_14": ta.RSI(close, 14),
        "stoch_k_14": stoch_k,
        "stoch_d_3": stoch_d,
        "williams_r_14": ta.WILLR(high, low, close, 14),
        "cci_20": ta.CCI(high, low, close, 20),
        **{f"roc_{n}": ta.ROC(close, n) for n in (5, 10, 20)},
        "momentum_10": ta.MOM(close, 10),
        "adx_14": ta.ADX(high, low, close, 14),
        "plus_di_14": ta.PLUS_DI(high, low, close, 14),
        "minus_di_14": ta.MINUS_DI(high, low, close, 14),
        "bb_middle_20": middle,
        "bb_upper_20": upper,
        "bb_lower_20": lower,
        "bb_percent_b_20": (close - lower) / (upper - lower),
        "bb_bandwidth_20": (upper - lower) / middle,
        "atr_14": ta.ATR(high, low, close, 14),
        "natr_14": ta.NATR(high, low, close, 14),
        "true_range": ta.TRANGE(high, low, close),
        "keltner_upper_20": ema_20 + 2 * range_10,
        "keltner_lower_20": ema_20 - 2 * range_10,
        "donchian_upper_20": ta.MAX(high, 20),
        "donchian_lower_20": ta.MIN(low, 20),
        "obv": ta.OBV(close, volume),
        "vwap_20": ta.SUM(typical * volume, 20) / ta.SUM(volume, 20),
        "mfi_14": ta.MFI(high, low, close, volume, 14),
        "adl": ta.AD(high, low, close, volume),
        **{f"log_return_{n}": returns[n] for n in (1, 5, 20)},
        **{f"realized_vol_{n}": ta.STDDEV(returns[1], n) * np.sqrt(n / (n - 1)) * scale for n in (5, 20, 60)},
        "parkinson_vol_20": np.sqrt(ta.SMA(span, 20) / (4 * np.log(2))) * scale,
        "garman_klass_vol_20": np.sqrt(ta.SMA(0.5 * span - (2 * np.log(2) - 1) * body, 20)) * scale,
        "drawdown": close / np.maximum.accumulate(close) - 1,
        "price_zscore_20": (close - middle) / (ta.STDDEV(close, 20) * np.sqrt(20 / 19)),
        "volume_zscore_20": (volume - ta.SMA(volume, 20)) / (ta.STDDEV(volume, 20) * np.sqrt(20 / 19)),
        "beta_60": (ta.SMA(own * index, 60) - ta.SMA(own, 60) * mean_index) / ta.VAR(index, 60),
        "corr_60": ta.CORREL(own, index, 60),
    }


def pandas_groupby(bars: pa.Table) -> pa.Table:
    """pandas, as its users write it: column by column `groupby("symbol")` with `rolling`, `ewm`, `shift`, `cumsum`."""
    frame = bars.select(["symbol", *BARS]).to_pandas()
    results = _of_pandas(frame, frame["symbol"])
    return _with_key(bars, {name: column.to_numpy() for name, column in results.items()})


def _of_pandas(bars: pd.DataFrame, symbol: pd.Series) -> dict[str, pd.Series]:
    opens, high, low, close, volume, index = (bars[name] for name in BARS)
    number = bars.groupby(symbol, sort=False).cumcount()

    def by(values: pd.Series) -> Any:
        return values.groupby(symbol, sort=False)

    def rolling(values: pd.Series, n: int) -> Any:
        return by(values).rolling(n)

    def mean(values: pd.Series, n: int) -> pd.Series:
        return rolling(values, n).mean().droplevel(0)

    def total(values: pd.Series, n: int) -> pd.Series:
        return rolling(values, n).sum().droplevel(0)

    def std(values: pd.Series, n: int, ddof: int = 1) -> pd.Series:
        return rolling(values, n).std(ddof=ddof).droplevel(0)

    def top(values: pd.Series, n: int) -> pd.Series:
        return rolling(values, n).max().droplevel(0)

    def bottom(values: pd.Series, n: int) -> pd.Series:
        return rolling(values, n).min().droplevel(0)

    def recursive(values: pd.Series, alpha: float, at: int, seed: pd.Series) -> pd.Series:
        seeded = values.where(number > at, seed.where(number == at))
        return by(seeded).ewm(alpha=alpha, adjust=False).mean().droplevel(0)

    def ema(values: pd.Series, n: int, at: int | None = None) -> pd.Series:
        return recursive(values, 2 / (n + 1), n - 1 if at is None else at, mean(values, n))

    def wilder(values: pd.Series, n: int, at: int) -> pd.Series:
        return recursive(values, 1 / n, at, mean(values, n))

    def directed(values: pd.Series, n: int = 14) -> pd.Series:
        return recursive(n * values, 1 / n, n - 1, total(values, n - 1)).where(number >= n)

    change, before = by(close).diff(), by(close).shift()
    returns = {n: np.log(close / by(close).shift(n)) for n in (1, 5, 20)}
    true_range = pd.concat([high - low, (high - before).abs(), (low - before).abs()], axis=1).max(axis=1)
    true_range = true_range.where(number > 0)
    ema_20, ema_26 = ema(close, 20), ema(close, 26)
    macd = ema(close, 12, 25) - ema_26
    signal = ema(macd, 9, 33)
    gain, loss = wilder(change.clip(lower=0), 14, 14), wilder(-change.clip(upper=0), 14, 14)
    highest, lowest = top(high, 14), bottom(low, 14)
    stoch_k = 100 * (close - lowest) / (highest - lowest)
    typical = (high + low + close) / 3
    mean_typical = mean(typical, 20)
    absolute = sum((by(typical).shift(lag) - mean_typical).abs() for lag in range(20))
    up, down = by(high).diff(), -by(low).diff()
    ranges = directed(true_range)
    plus = 100 * directed(up.where((up > down) & (up > 0), 0.0)) / ranges
    minus = 100 * directed(down.where((down > up) & (down > 0), 0.0)) / ranges
    middle, deviation = mean(close, 20), std(close, 20, ddof=0)
    upper, lower = middle + 2 * deviation, middle - 2 * deviation
    atr_14 = wilder(true_range, 14, 14)
    band = 2 * wilder(true_range, 10, 10)
    flow, rising = typical * volume, by(typical).diff()
    inflow = total(flow.where(rising > 0, 0.0).where(number > 0), 14)
    outflow = total(flow.where(rising < 0, 0.0).where(number > 0), 14)
    span, body = np.log(high / low) ** 2, np.log(close / opens) ** 2
    scale = np.sqrt(YEAR)
    own, own_mean, index_mean = returns[1], mean(returns[1], 60), mean(index, 60)
    covariance = (mean(own * index, 60) - own_mean * index_mean) * 60 / 59
    index_deviation = std(index, 60)
    return {
        **{f"sma_{n}": mean(close, n) for n in (5, 10, 50, 100, 200)},
        "sma_20": middle,
        **{f"ema_{n}": ema(close, n) for n in (5, 10, 12, 50, 200)},
        "ema_20": ema_20,
        "ema_26": ema_26,
        "wma_20": sum((20 - lag) / 210 * by(close).shift(lag) for lag in range(20)),
        "macd": macd.where(signal.notna()),
        "macd_signal": signal,
        "macd_hist": macd - signal,
        "rsi_14": 100 * gain / (gain + loss),
        "stoch_k_14": stoch_k.where(number >= 15),
        "stoch_d_3": mean(stoch_k, 3),
        "williams_r_14": -100 * (highest - close) / (highest - lowest),
        "cci_20": (typical - mean_typical) / (0.015 * absolute / 20),
        **{f"roc_{n}": 100 * (close / by(close).shift(n) - 1) for n in (5, 10, 20)},
        "momentum_10": by(close).diff(10),
        "adx_14": wilder(100 * (plus - minus).abs() / (plus + minus), 14, 27),
        "plus_di_14": plus,
        "minus_di_14": minus,
        "bb_middle_20": middle,
        "bb_upper_20": upper,
        "bb_lower_20": lower,
        "bb_percent_b_20": (close - lower) / (upper - lower),
        "bb_bandwidth_20": (upper - lower) / middle,
        "atr_14": atr_14,
        "natr_14": 100 * atr_14 / close,
        "true_range": true_range,
        "keltner_upper_20": ema_20 + band,
        "keltner_lower_20": ema_20 - band,
        "donchian_upper_20": top(high, 20),
        "donchian_lower_20": bottom(low, 20),
        "obv": by(np.sign(change).fillna(1.0) * volume).cumsum(),
        "vwap_20": total(flow, 20) / total(volume, 20),
        "mfi_14": 100 * inflow / (inflow + outflow),
        "adl": by((2 * close - high - low) / (high - low) * volume).cumsum(),
        **{f"log_return_{n}": returns[n] for n in (1, 5, 20)},
        **{f"realized_vol_{n}": std(own, n) * scale for n in (5, 20, 60)},
        "parkinson_vol_20": np.sqrt(mean(span, 20) / (4 * np.log(2))) * scale,
        "garman_klass_vol_20": np.sqrt(mean(0.5 * span - (2 * np.log(2) - 1) * body, 20)) * scale,
        "drawdown": close / by(close).cummax() - 1,
        "price_zscore_20": (close - middle) / std(close, 20),
        "volume_zscore_20": (volume - mean(volume, 20)) / std(volume, 20),
        "beta_60": covariance / index_deviation**2,
        "corr_60": covariance / (std(own, 60) * index_deviation),
    }


def polars_over(bars: pa.Table) -> pa.Table:
    """polars: lazy expressions `over("symbol")`, on all cores."""
    frame = pl.from_arrow(bars.select(["symbol", *BARS]))
    assert isinstance(frame, pl.DataFrame)
    query = frame.lazy().with_columns(number=pl.int_range(pl.len()).over("symbol"))
    for stage in (_steps, _moves, _averages, _nested_averages):
        query = query.with_columns(**{name: value.over("symbol") for name, value in stage().items()})
    results = query.with_columns(**_results()).select(RESULTS).collect().to_arrow()
    return _with_key(bars, {name: results[name] for name in RESULTS})


def _steps() -> dict[str, pl.Expr]:
    close, high, low = (pl.col(name) for name in ("close", "high", "low"))
    return {
        "change": close.diff(),
        "before": close.shift(),
        **{f"log_return_{n}": (close / close.shift(n)).log() for n in (1, 5, 20)},
        "typical": (high + low + close) / 3,
        "rising": ((high + low + close) / 3).diff(),
        "up": high.diff(),
        "down": -low.diff(),
        **{f"roc_{n}": 100 * (close / close.shift(n) - 1) for n in (5, 10, 20)},
        "momentum_10": close - close.shift(10),
        "drawdown": close / close.cum_max() - 1,
        **{f"sma_{n}": close.rolling_mean(n) for n in (5, 10, 20, 50, 100, 200)},
        "deviation": close.rolling_std(20, ddof=0),
        "wma_20": close.rolling_mean(20, weights=[float(n) for n in range(1, 21)]),
        "top": high.rolling_max(14),
        "bottom": low.rolling_min(14),
        "donchian_upper_20": high.rolling_max(20),
        "donchian_lower_20": low.rolling_min(20),
        "parkinson": ((high / low).log() ** 2).rolling_mean(20),
        "volume_mean": pl.col("volume").rolling_mean(20),
        "volume_sum": pl.col("volume").rolling_sum(20),
        "volume_deviation": pl.col("volume").rolling_std(20),
        "sample_deviation": close.rolling_std(20),
        "adl": ((2 * close - high - low) / (high - low) * pl.col("volume")).cum_sum(),
    }


def _moves() -> dict[str, pl.Expr]:
    high, low, before, up, down = (pl.col(name) for name in ("high", "low", "before", "up", "down"))
    flow, rising = pl.col("typical") * pl.col("volume"), pl.col("rising")
    ranges = pl.max_horizontal(high - low, (high - before).abs(), (low - before).abs())
    body = (pl.col("close") / pl.col("open")).log() ** 2
    returns, index = pl.col("log_return_1"), pl.col("index_return")
    return {
        "true_range": pl.when(pl.col("number") > 0).then(ranges),
        "rise": pl.when((up > down) & (up > 0)).then(up).otherwise(0.0),
        "fall": pl.when((down > up) & (down > 0)).then(down).otherwise(0.0),
        "stoch_k": 100 * (pl.col("close") - pl.col("bottom")) / (pl.col("top") - pl.col("bottom")),
        "mean_typical": pl.col("typical").rolling_mean(20),
        "inflow": pl.when(rising > 0).then(flow).when(rising <= 0).then(0.0).rolling_sum(14),
        "outflow": pl.when(rising < 0).then(flow).when(rising >= 0).then(0.0).rolling_sum(14),
        "vwap_20": flow.rolling_sum(20) / pl.col("volume_sum"),
        "obv": (pl.col("change").sign().fill_null(1.0) * pl.col("volume")).cum_sum(),
        "garman_klass": (0.5 * (high / low).log() ** 2 - (2 * np.log(2) - 1) * body).rolling_mean(20),
        **{f"realized_vol_{n}": returns.rolling_std(n) * YEAR**0.5 for n in (5, 20, 60)},
        "beta_60": pl.rolling_cov(returns, index, window_size=60) / index.rolling_var(60),
        "corr_60": pl.rolling_corr(returns, index, window_size=60),
    }


def _averages() -> dict[str, pl.Expr]:
    close, ranges = pl.col("close"), pl.col("true_range")
    lags = (pl.col("typical").shift(lag) - pl.col("mean_typical") for lag in range(20))
    return {
        **{f"ema_{n}": _ema(close, n) for n in (5, 10, 12, 20, 26, 50, 200)},
        "late_ema_12": _ema(close, 12, at=25),
        "gain": _wilder(pl.col("change").clip(lower_bound=0), 14, at=14),
        "loss": _wilder(-pl.col("change").clip(upper_bound=0), 14, at=14),
        "atr_10": _wilder(ranges, 10, at=10),
        "atr_14": _wilder(ranges, 14, at=14),
        "plus_di_14": 100 * _directed("rise") / _directed("true_range"),
        "minus_di_14": 100 * _directed("fall") / _directed("true_range"),
        "stoch_d_3": pl.col("stoch_k").rolling_mean(3),
        "absolute": pl.sum_horizontal(*(lag.abs() for lag in lags), ignore_nulls=False),
    }


def _nested_averages() -> dict[str, pl.Expr]:
    plus, minus = pl.col("plus_di_14"), pl.col("minus_di_14")
    return {
        "macd_signal": _ema(pl.col("late_ema_12") - pl.col("ema_26"), 9, at=33),
        "adx_14": _wilder(100 * (plus - minus).abs() / (plus + minus), 14, at=27),
    }


def _results() -> dict[str, pl.Expr]:
    close, middle, deviation = (pl.col(name) for name in ("close", "sma_20", "deviation"))
    macd, signal, ema_20 = pl.col("late_ema_12") - pl.col("ema_26"), pl.col("macd_signal"), pl.col("ema_20")
    upper, lower, gain, loss = middle + 2 * deviation, middle - 2 * deviation, pl.col("gain"), pl.col("loss")
    return {
        "macd": pl.when(signal.is_not_null()).then(macd),
        "macd_hist": macd - signal,
        "rsi_14": 100 * gain / (gain + loss),
        "stoch_k_14": pl.when(pl.col("number") >= 15).then(pl.col("stoch_k")),
        "williams_r_14": -100 * (pl.col("top") - close) / (pl.col("top") - pl.col("bottom")),
        "cci_20": (pl.col("typical") - pl.col("mean_typical")) / (0.015 * pl.col("absolute") / 20),
        "bb_middle_20": middle,
        "bb_upper_20": upper,
        "bb_lower_20": lower,
        "bb_percent_b_20": (close - lower) / (upper - lower),
        "bb_bandwidth_20": (upper - lower) / middle,
        "natr_14": 100 * pl.col("atr_14") / close,
        "keltner_upper_20": ema_20 + 2 * pl.col("atr_10"),
        "keltner_lower_20": ema_20 - 2 * pl.col("atr_10"),
        "mfi_14": 100 * pl.col("inflow") / (pl.col("inflow") + pl.col("outflow")),
        "parkinson_vol_20": (pl.col("parkinson") / (4 * np.log(2)) * YEAR).sqrt(),
        "garman_klass_vol_20": (pl.col("garman_klass") * YEAR).sqrt(),
        "price_zscore_20": (close - middle) / pl.col("sample_deviation"),
        "volume_zscore_20": (pl.col("volume") - pl.col("volume_mean")) / pl.col("volume_deviation"),
    }


def _seeded(values: pl.Expr, alpha: float, at: int, seed: pl.Expr) -> pl.Expr:
    number = pl.col("number")
    inputs = pl.when(number > at).then(values).when(number == at).then(seed)
    return inputs.ewm_mean(alpha=alpha, adjust=False)


def _ema(values: pl.Expr, n: int, at: int | None = None) -> pl.Expr:
    return _seeded(values, 2 / (n + 1), n - 1 if at is None else at, values.rolling_mean(n))


def _wilder(values: pl.Expr, n: int, at: int) -> pl.Expr:
    return _seeded(values, 1 / n, at, values.rolling_mean(n))


def _directed(name: str, n: int = 14) -> pl.Expr:
    values = pl.col(name)
    sums = _seeded(n * values, 1 / n, n - 1, values.rolling_sum(n - 1))
    return pl.when(pl.col("number") >= n).then(sums)


def _series(bars: pa.Table) -> list[slice]:
    """Where each symbol's rows are."""
    symbols = bars["symbol"].combine_chunks().dictionary_encode().indices.to_numpy()
    ends = [*(np.flatnonzero(np.diff(symbols)) + 1).tolist(), len(symbols)]
    return [slice(first, end) for first, end in zip([0, *ends], ends, strict=False)]


def _with_key(bars: pa.Table, results: Mapping[str, object]) -> pa.Table:
    key = {name: bars[name] for name in KEY}
    return pa.table({**key, **{name: results[name] for name in RESULTS}, "year": bars["year"]})


def bars_of(lake: Lake) -> pa.Table:
    """What every peer starts from: forward-adjusted bars, sorted, with the index's return of the same session."""
    with connect(lake) as connection:
        return connection.execute(
            f"""
            with market as (
                select ts, ln(close_adj / lag(close_adj) over (order by ts)) as index_return
                from market.bars
                where symbol = '{INDEX}'
            )
            select
                symbol, interval, ts, open_adj as open, high_adj as high, low_adj as low, close_adj as close, volume,
                index_return, year
            from market.bars join market using (ts)
            order by symbol, ts
            """
        ).to_arrow_table()


PEERS: dict[str, Callable[[pa.Table], pa.Table]] = {
    "TA-Lib loop": talib_loop,
    "polars over()": polars_over,
    "pandas groupby": pandas_groupby,
}


def main() -> None:
    """Read, compute and write as the peer that is named, then write as the lake does; prints the seconds of each."""
    name, uri, destination = sys.argv[1:]
    clock = [time.perf_counter()]
    bars = bars_of(Lake(uri))
    clock.append(time.perf_counter())
    table = PEERS[name](bars)
    clock.append(time.perf_counter())
    write_deltalake(destination, table, partition_by=["year"], mode="overwrite")
    clock.append(time.perf_counter())
    Lake(destination).replace("as/ours", table, partition_by=["year"])
    clock.append(time.perf_counter())
    print(json.dumps(np.diff(clock).tolist()))


if __name__ == "__main__":
    main()
