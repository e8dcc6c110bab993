"""The indicators by the SQL of the project: equal to TA-Lib or to their formula on every row, and without foresight."""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from assets_pkg.resources.dbt import model_queries
from lake.derived import register_functions
from lake.lists import Floats
from lake.sources import EMBEDDED
from lake.tables import TABLES
from tests.bars import walk

PRICES = ["open", "high", "low", "close"]
INDEX = "SP500"
OF_THE_CLOSE = ("sma", "ema", "wma", "macd", "rsi", "roc", "momentum", "bb")
Columns = dict[str, Floats]
Build = Callable[[pd.DataFrame], dict[str, pd.DataFrame]]


@pytest.fixture(scope="module")
def queries(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LAKEHOUSE_HOME", str(tmp_path_factory.mktemp("home")))
        return model_queries()


@pytest.fixture(scope="module")
def build(queries: Mapping[str, str]) -> Build:
    """Indicators of each symbol from raw bars, through `market/bars`, by the project's SQL; all trade in New York."""

    def indicators(bars: pd.DataFrame) -> dict[str, pd.DataFrame]:
        schema = TABLES["raw/bars"].schema
        rows = bars.assign(source="file", batch_id="a", ingested_at=datetime(2030, 1, 1, tzinfo=UTC))
        raw = {"raw/bars": pa.Table.from_pandas(rows.assign(year=rows["ts"].dt.year), schema, preserve_index=False)}
        with duckdb.connect() as connection:
            connection.execute("set timezone = 'UTC'; create schema raw; create schema market")
            register_functions(connection)
            for name, spec in TABLES.items():
                if name.startswith("raw/"):
                    connection.register("rows", raw.get(name, spec.schema.empty_table()))
                    connection.execute(f"create table {name.replace('/', '.')} as from rows")
            connection.execute(f"insert into raw.instruments (symbol, calendar) values ('{INDEX}', 'XNYS')")
            connection.execute(
                """
                insert into raw.sessions by name
                select distinct 'XNYS' as calendar, ts, ts + interval 21 hours as closes_at
                from raw.bars
                where interval = '1d'
                """
            )
            connection.execute(f"create table market.bars as {queries['market/bars']}")
            query = f"from ({queries['market/indicators']}) order by symbol, ts"
            table = connection.execute(query).to_arrow_table()
        for column in table.columns:  # what is not known is null, not NaN, which pandas does not tell apart
            assert not pa.types.is_floating(column.type) or pc.all(pc.is_finite(column)).as_py() is not False
        frame = table.to_pandas()
        return {str(symbol): rows.reset_index(drop=True) for symbol, rows in frame.groupby("symbol")}

    return indicators


def close_of(rows: int, seed: int, scale: float = 100.0) -> Floats:
    closes: Floats = scale * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.02, rows)))
    return closes


def bars_of(close: Floats, seed: int = 0) -> pd.DataFrame:
    """Open, high, low and volume around a close."""
    noise = np.random.default_rng(seed)
    bars = walk("X", len(close), "2000-01-03", seed).assign(close=close, open=close * np.exp(noise.normal(0, 0.003)))
    bars["high"] = bars[["open", "close"]].max(axis=1) * np.exp(noise.uniform(0, 0.01, len(close)))
    bars["low"] = bars[["open", "close"]].min(axis=1) * np.exp(-noise.uniform(0, 0.01, len(close)))
    return bars


def flat(rows: int, start: int, stop: int) -> pd.DataFrame:
    """A walk that stands still for a while."""
    bars = bars_of(close_of(rows, seed=start), start)
    bars.loc[start:stop, PRICES] = bars["close"][start]
    return bars


def all_series() -> dict[str, pd.DataFrame]:
    series = {f"WALK{seed}": bars_of(close_of(700, seed), seed) for seed in range(3)}
    series |= {"TINY": bars_of(close_of(500, 5, 1e-6), 5), "HUGE": bars_of(close_of(500, 6, 1e9), 6)}
    series |= {"CENTS": bars_of(close_of(500, 7), 7).round(2), "TIES": bars_of(close_of(500, 8), 8).round(0)}
    series["GAPS"] = bars_of(close_of(600, 9), 9).drop(index=range(100, 130)).drop(index=range(300, 600, 7))
    series |= {
        f"SHORT{rows}": bars_of(close_of(rows, rows), rows) for rows in (*range(1, 36), 49, 50, 60, 61, 199, 200)
    }
    series |= {"FLAT_FIRST": flat(300, 0, 60), "FLAT_THEN": flat(300, 100, 160), "FLAT_LAST": flat(300, 250, 300)}
    for number, price in enumerate((100.0, 0.1, 100.1)):
        series[f"CONSTANT{number}"] = bars_of(np.full(300, price)).assign(**dict.fromkeys(PRICES, price))
    start, end = date(2000, 1, 3), date(2002, 6, 28)
    for symbol, source in {INDEX: "arch", "IBM": "bokeh", "XOM": "skfolio"}.items():
        series[symbol] = EMBEDDED[source].fetch([symbol], start, end)
    for name, bars in series.items():
        series[name] = bars.assign(symbol=name, adj_close=bars["close"]).reset_index(drop=True)
    return series


@pytest.fixture(scope="module")
def series() -> dict[str, pd.DataFrame]:
    return all_series()


@pytest.fixture(scope="module")
def built(build: Build, series: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    return build(pd.concat(series.values(), ignore_index=True))


def of_talib(bars: pd.DataFrame) -> Columns:
    """Whatever TA-Lib has; a series of closes has null where it wants more."""
    high, low, close, volume = (bars[name].to_numpy(np.float64) for name in ("high", "low", "close", "volume"))
    macd, signal, histogram = talib.MACD(close)
    upper, middle, lower = talib.BBANDS(close, 20, 2, 2)
    k, d = talib.STOCHF(high, low, close, 14, 3, 0)
    keltner, width = talib.EMA(close, 20), 2 * talib.ATR(high, low, close, 10)
    columns = {f"sma_{n}": talib.SMA(close, n) for n in (5, 10, 20, 50, 100, 200)}
    columns |= {f"ema_{n}": talib.EMA(close, n) for n in (5, 10, 12, 20, 26, 50, 200)}
    columns |= {f"roc_{n}": talib.ROC(close, n) for n in (5, 10, 20)}
    columns |= {"wma_20": talib.WMA(close, 20), "momentum_10": talib.MOM(close, 10), "rsi_14": talib.RSI(close, 14)}
    columns |= {"macd": macd, "macd_signal": signal, "macd_hist": histogram}
    columns |= {"bb_upper_20": upper, "bb_middle_20": middle, "bb_lower_20": lower}
    columns |= {"stoch_k_14": k, "stoch_d_3": d, "williams_r_14": talib.WILLR(high, low, close, 14)}
    columns |= {"cci_20": talib.CCI(high, low, close, 20), "adx_14": talib.ADX(high, low, close, 14)}
    columns |= {"plus_di_14": talib.PLUS_DI(high, low, close, 14), "minus_di_14": talib.MINUS_DI(high, low, close, 14)}
    columns |= {"atr_14": talib.ATR(high, low, close, 14), "natr_14": talib.NATR(high, low, close, 14)}
    columns |= {"true_range": talib.TRANGE(high, low, close)}
    columns |= {"keltner_upper_20": keltner + width, "keltner_lower_20": keltner - width}
    columns |= {"donchian_upper_20": talib.MAX(high, 20), "donchian_lower_20": talib.MIN(low, 20)}
    columns |= {"obv": talib.OBV(close, volume), "adl": talib.AD(high, low, close, volume)}
    columns |= {"mfi_14": talib.MFI(high, low, close, volume, 14)}
    if np.isnan(high).all():  # TA-Lib makes zeros of NaN here and there
        columns |= {name: np.full(len(close), np.nan) for name in columns if not name.startswith(OF_THE_CLOSE)}
    return columns


def rolled(function: Callable[..., float], n: int, *values: Floats) -> Floats:
    """A function of the last n values, row by row; NaN unless all are there."""
    results = np.full(len(values[0]), np.nan)
    for end in range(n, len(results) + 1):
        windows = [np.array(it[end - n : end], np.longdouble) for it in values]
        if not np.isnan(windows).any():
            results[end - 1] = function(*windows)
    return results


def precise(bars: pd.DataFrame) -> Columns:
    """What TA-Lib rounds worse: in extended precision, each window summed for itself.

    TA-Lib takes a variance as the difference of two sums (and one below 1e-14 for zero), carries running sums along, so
    that something remains of what has left the window, and takes what rounding leaves of a constant for a deviation.
    """
    high, low, close, volume = (bars[name].to_numpy(np.float64) for name in ("high", "low", "close", "volume"))
    typical = (high + low + close) / 3
    change = np.diff(typical, prepend=np.nan)
    up, down = (np.where(np.isnan(change), np.nan, (sign * change > 0) * typical * volume) for sign in (1, -1))
    extended = close.astype(np.longdouble)
    fast, slow = averaged(extended, 12, first=26), averaged(extended, 26, first=26)
    signal = averaged(fast - slow, 9, first=34)

    def cci(window: Floats) -> float:
        deviation = window - window[-1] - (window - window[-1]).mean()
        return float(deviation[-1] / (0.015 * abs(deviation).mean())) if deviation.any() else 0.0

    def mfi(up: Floats, down: Floats) -> float:
        return float(100 * up.sum() / (up.sum() + down.sum())) if up.sum() + down.sum() >= 1 else 0.0

    def d(high: Floats, low: Floats, close: Floats) -> float:
        ranges = [(close[i + 13], high[i : i + 14].max(), low[i : i + 14].min()) for i in range(3)]
        return float(sum(100 * (last - lowest) / (highest - lowest or 1) for last, highest, lowest in ranges) / 3)

    return {
        "bb_upper_20": rolled(lambda it: it.mean() + 2 * it.std(), 20, close),
        "bb_lower_20": rolled(lambda it: it.mean() - 2 * it.std(), 20, close),
        "cci_20": rolled(cci, 20, typical),
        "mfi_14": rolled(mfi, 14, up, down),
        "stoch_d_3": rolled(d, 16, high, low, close),
        "macd": np.where(np.isnan(signal), np.nan, fast - slow).astype(np.float64),
        "macd_signal": signal.astype(np.float64),
        "macd_hist": (fast - slow - signal).astype(np.float64),
    }


def averaged(values: Floats, n: int, first: int) -> Floats:
    """EMA over n values with its first value in row `first`, by its definition."""
    results = np.full(len(values), np.nan, values.dtype)
    if len(values) >= first:
        results[first - 1] = values[first - n : first].mean()
    for row in range(first, len(values)):
        results[row] = results[row - 1] + (values[row] - results[row - 1]) * 2 / values.dtype.type(n + 1)
    return results


def by_formula(bars: pd.DataFrame, market_return: Floats) -> Columns:
    """What TA-Lib does not have, by the formulas of indicators.yml."""
    opening, high, low, close, volume = (bars[name].to_numpy(np.float64) for name in (*PRICES, "volume"))
    typical = (high + low + close) / 3
    log_return = np.full(len(close), np.nan)
    log_return[1:] = np.log(close[1:] / close[:-1])
    both = np.where(np.isnan(log_return), np.nan, market_return)
    deviation = rolled(lambda it: (it - it[-1]).std(), 20, close)
    middle = rolled(np.mean, 20, close)
    scale = np.where(deviation > 0, deviation, np.nan)

    def z(window: Floats) -> float:
        deviations = window - window.mean()
        return float(deviations[-1] / window.std(ddof=1)) if np.ptp(window) > 0 else np.nan

    def covariance(x: Floats, y: Floats) -> float:
        return float(((x - x.mean()) * (y - y.mean())).sum() / (len(x) - 1))

    def correlation(x: Floats, y: Floats) -> float:
        return covariance(x, y) / (x.std(ddof=1) * y.std(ddof=1)) if np.ptp(x) > 0 else np.nan

    squared_range, squared_body = np.log(high / low) ** 2, np.log(close / opening) ** 2
    variance, ewma = np.nan, np.full(len(close), np.nan)
    for row in range(20, len(close)):
        newest = log_return[row] ** 2
        variance = np.mean(log_return[1:21] ** 2) if row == 20 else 0.94 * variance + 0.06 * newest
        ewma[row] = np.sqrt(variance)
    columns = {"log_return_1": log_return}
    for n in (5, 20):
        columns[f"log_return_{n}"] = rolled(lambda it: np.log(it[-1] / it[0]), n + 1, close)
    for n in (5, 20, 60):
        columns[f"realized_vol_{n}"] = rolled(lambda it: (it - it[-1]).std(ddof=1), n, log_return) * np.sqrt(252)
    return columns | {
        "bb_percent_b_20": (close - middle + 2 * deviation) / (4 * scale),
        "bb_bandwidth_20": 4 * deviation / middle,
        "vwap_20": rolled(lambda price, traded: (price * traded).sum() / traded.sum(), 20, typical, volume),
        "parkinson_vol_20": np.sqrt(rolled(np.mean, 20, squared_range) / (4 * np.log(2)) * 252),
        "garman_klass_vol_20": np.sqrt(
            rolled(np.mean, 20, 0.5 * squared_range - (2 * np.log(2) - 1) * squared_body) * 252
        ),
        "ewma_vol": ewma,
        "drawdown": close / np.maximum.accumulate(close) - 1,
        "price_zscore_20": rolled(z, 20, close),
        "volume_zscore_20": rolled(z, 20, volume),
        "beta_60": rolled(lambda x, y: covariance(x, y) / covariance(y, y), 60, log_return, both),
        "corr_60": rolled(correlation, 60, log_return, both),
    }


def error(found: Floats, reference: Floats) -> float:
    """Greatest error, relative to the reference or, where that is near zero, to a thousandth of its median."""
    assert np.array_equal(np.isnan(found), np.isnan(reference)), np.flatnonzero(np.isnan(found) != np.isnan(reference))
    known = ~np.isnan(reference)
    if not known.any():
        return 0.0
    difference, size = abs(found[known] - reference[known]), abs(reference[known])
    scale = np.maximum(size, 1e-3 * np.median(size))
    return float(np.max(np.divide(difference, scale, out=np.where(difference > 0, np.inf, 0.0), where=scale > 0)))


def test_they_are_those_of_talib_on_every_row(series: dict[str, pd.DataFrame], built: dict[str, pd.DataFrame]) -> None:
    """Or, where TA-Lib rounds, those in extended precision: only of prices that stand still, or are tiny or huge."""
    rounded = set()
    for name, bars in series.items():
        found = {column: built[name][column].to_numpy() for column in of_talib(bars)}
        off = [column for column, reference in of_talib(bars).items() if error(found[column], reference) > 1e-9]
        if off:
            exact = precise(bars)
            assert {*off} <= {*exact}, name
            assert {column: error(found[column], exact[column]) <= 1e-9 for column in off} == dict.fromkeys(off, True)
            rounded.add(name)
    assert rounded <= {"TINY", "HUGE", "FLAT_FIRST", "FLAT_THEN", "FLAT_LAST", "CONSTANT0", "CONSTANT1", "CONSTANT2"}


def test_the_others_are_what_their_formula_says(
    series: dict[str, pd.DataFrame], built: dict[str, pd.DataFrame]
) -> None:
    index = series[INDEX].set_index("ts")["close"]
    for name, bars in series.items():
        known = index.reindex(index.index.union(bars["ts"])).ffill().reindex(bars["ts"])
        for column, reference in by_formula(bars, np.log(known).diff().to_numpy()).items():
            assert error(built[name][column].to_numpy(), reference) <= 1e-9, (name, column)


def test_every_column_is_held_against_something(queries: Mapping[str, str], built: dict[str, pd.DataFrame]) -> None:
    bars = bars_of(close_of(5, 0))
    checked = {*of_talib(bars), *by_formula(bars, np.zeros(5))}
    states = {
        "bar_number",
        "range_number",
        "high_low_number",
        "volume_number",
        "macd_fast",
        "average_gain_14",
        "average_loss_14",
        "atr_10",
    }
    states |= {"range_sum_14", "plus_dm_sum_14", "minus_dm_sum_14", "ewma_variance", "peak"}
    assert set(built["IBM"].columns) == checked | states | {"symbol", "interval", "ts", "year"}


def test_the_index_moves_with_itself(built: dict[str, pd.DataFrame]) -> None:
    known = built[INDEX].dropna(subset="beta_60")
    assert len(known) > 500
    assert set(known["beta_60"]) == {1.0}
    np.testing.assert_allclose(known["corr_60"], 1, rtol=1e-15)


def test_the_index_is_taken_over_the_same_time_as_the_bar(build: Build) -> None:
    """A copy of the index moves with it one to one, though it lacks sessions."""
    index = bars_of(close_of(300, 2), 2).assign(symbol=INDEX)
    copy = index.drop(index=range(5, 300, 7)).drop(index=range(100, 130), errors="ignore").assign(symbol="COPY")
    copy = build(pd.concat([it.assign(adj_close=it["close"]) for it in (index, copy)]))["COPY"].dropna(subset="beta_60")
    assert len(copy) > 150
    np.testing.assert_allclose(copy[["beta_60", "corr_60"]], 1, rtol=1e-12)
    assert (copy["corr_60"] <= 1).all()


def test_what_is_missing_or_not_positive_costs_its_windows_and_no_more(build: Build) -> None:
    """Bars without high and low, without volume, with a negative price, and of zero, which has no adjustment."""
    whole = bars_of(close_of(400, 3), 3).assign(symbol=INDEX)
    holes, below, zero = (whole.assign(symbol=symbol) for symbol in ("HOLES", "BELOW", "ZERO"))
    holes.loc[[100, 140], ["high", "low"]] = np.nan
    holes.loc[[120, 160], "volume"] = np.nan
    below.loc[100, PRICES] = [-3.0, -2.0, -5.0, -4.0]
    zero.loc[100, PRICES] = 0.0
    built = build(pd.concat([it.assign(adj_close=it["close"]) for it in (whole, holes, below, zero)]))
    for symbol, last_null in {"HOLES": 160 + 60, "BELOW": 200, "ZERO": 100 + 200}.items():
        rows = built[symbol].drop(columns=["symbol", "interval", "ts"])
        assert np.isfinite(rows[last_null:].astype(float)).all().all(), symbol
    for name in of_talib(whole):
        if name.startswith(OF_THE_CLOSE):
            np.testing.assert_array_equal(built["HOLES"][name], built[INDEX][name], err_msg=name)
            assert error(built["BELOW"][name].to_numpy(), of_talib(below)[name]) <= 1e-9, name
    assert built["HOLES"]["atr_14"].isna()[99:104].tolist() == [False, True, False, False, False]
    without = talib.EMA(zero["close"].drop(index=100).to_numpy(), 26)
    np.testing.assert_allclose(built["ZERO"]["ema_26"].drop(index=100), without, rtol=1e-12)


@pytest.fixture(scope="module")
def world() -> pd.DataFrame:
    """An index, a stock, closes only, and bars of an hour; every seventh session is missing somewhere."""
    closes = bars_of(close_of(200, 4), 4).assign(symbol="CLOSES", open=np.nan, high=np.nan, low=np.nan, volume=np.nan)
    hours = bars_of(close_of(150, 5), 5).assign(symbol="HOURS", interval="1h")
    hours["ts"] = pd.date_range("2000-06-01", periods=150, freq="h", tz="UTC")
    frames = [bars_of(close_of(300, 6), 6).assign(symbol=INDEX), bars_of(close_of(280, 7), 7), closes, hours]
    frames = [it.drop(index=range(number + 40, len(it), 7)) for number, it in enumerate(frames)]
    return pd.concat([it.assign(adj_close=it["close"]) for it in frames], ignore_index=True)


@pytest.fixture(scope="module")
def built_world(build: Build, world: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return build(world)


@settings(max_examples=5, deadline=None, print_blob=True)
@given(
    day=st.dates(date(2000, 2, 1), date(2001, 2, 20)),
    factor=st.floats(0.2, 5),
    missing=st.sets(st.integers(0, 6), max_size=6),
)
def test_another_future_leaves_every_bit_of_the_past_as_it_was(
    build: Build,
    world: pd.DataFrame,
    built_world: dict[str, pd.DataFrame],
    *,
    day: date,
    factor: float,
    missing: set[int],
) -> None:
    """After a day prices are others, bars are missing, and there are bars that were not there."""
    last = pd.Timestamp(day, tz="UTC")
    past, later = world[world["ts"] <= last], world[world["ts"] > last]
    new = later.assign(ts=later["ts"] + pd.Timedelta(hours=24))
    new = new[(new["interval"] == "1d") & ~new["ts"].isin(world["ts"])]
    later = pd.concat([later[~(later.index % 7).isin(missing)], new])
    later[[*PRICES, "adj_close"]] *= factor
    after = build(pd.concat([past, later], ignore_index=True))
    for symbol, rows in built_world.items():
        ours, theirs = (it[it["ts"] <= last] for it in (rows, after.get(symbol, rows[:0])))
        pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
