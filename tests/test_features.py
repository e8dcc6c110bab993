"""Features and ranks on a small world of three exchanges: against slow references, and without foresight."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from assets_pkg.resources.dbt import model_queries
from lake.calendars import write_sessions
from lake.derived import register_functions
from lake.ingest import ingest, write_instruments
from lake.sentiment import headline_sentiment
from lake.sources.base import SECTORS, Instrument
from lake.store import Lake
from lake.tables import TABLES
from tests.bars import walk

INSTRUMENTS = {
    "AAPL": ("equity", "USD", "XNYS", "information_technology"),
    "KO": ("equity", "USD", "XNYS", "consumer_staples"),
    "XOM": ("equity", "USD", "XNYS", "energy"),
    "SP500": ("index", "USD", "XNYS", None),
    "7203.T": ("equity", "JPY", "XTKS", None),
    "BVN.LM": ("equity", "PEN", "XLIM", None),
}
FIRST, LAST = pd.Timestamp("2023-06-01", tz="UTC"), pd.Timestamp("2024-09-30", tz="UTC")

Build = Callable[["World"], pd.DataFrame]


@dataclass(frozen=True)
class World:
    """What the lake may know: rows of raw tables, as pandas frames."""

    bars: pd.DataFrame
    macro: pd.DataFrame
    news: pd.DataFrame

    def build(self, queries: Mapping[str, str]) -> pd.DataFrame:
        """`market/features` that follow from it, with some columns that they rest on."""
        raw = {"bars": self.bars, "macro": self.macro, "news": self.news, **_known()}
        with duckdb.connect() as connection:
            connection.execute("set timezone = 'UTC'; set threads = 2; create schema raw; create schema market")
            register_functions(connection)
            for name, spec in TABLES.items():
                if name.startswith("raw/"):
                    frame = raw.get(name.removeprefix("raw/"))
                    rows = spec.schema.empty_table()
                    if frame is not None:
                        optional = [column for column in spec.schema.names if column not in frame]
                        frame = frame.assign(**dict.fromkeys(optional))
                        rows = pa.Table.from_pandas(frame, spec.schema, preserve_index=False)
                    connection.register("rows", rows)
                    connection.execute(f"create table {name.replace('/', '.')} as from rows")
            for table, query in queries.items():
                connection.execute(f"create table {table.replace('/', '.')} as {query}")
            frame = connection.execute(
                """
                select features.*, indicators.sma_5, sma_20, sma_50, sma_200, volume, bars.currency
                from market.features
                join market.indicators using (symbol, interval, ts) join market.bars using (symbol, interval, ts)
                order by symbol, interval, ts
                """
            ).df()
        return frame.assign(closes_at=_closes_at(frame))


@cache
def _known() -> dict[str, pd.DataFrame]:
    """Instruments, and sessions of their exchanges from 2023 on."""
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(folder)
        first_bar = walk("AAPL", 1, str(FIRST.date()))
        write_instruments(lake, ["none"], {symbol: _instrument(symbol) for symbol in INSTRUMENTS})
        ingest(lake, first_bar, "test", "test")
        write_sessions(lake)
        return {name: lake.read(f"raw/{name}").to_pandas() for name in ("instruments", "sessions")}


def _instrument(symbol: str) -> Instrument:
    asset_class, currency, calendar, sector = INSTRUMENTS[symbol]
    return Instrument(symbol, symbol, asset_class, currency, calendar, "test", sector=sector)


def _closes_at(bars: pd.DataFrame) -> pd.Series:
    """When each bar is over, by the clocks of its exchange; on a half day it is nearer to noon."""
    known = _known()["sessions"].set_index(["calendar", "ts"])["closes_at"]
    calendars = bars["symbol"].map({symbol: it[2] for symbol, it in INSTRUMENTS.items()})
    of_day = known.reindex(pd.MultiIndex.from_arrays([calendars, bars["ts"]])).to_numpy()
    of_day = pd.Series(pd.to_datetime(of_day, utc=True), index=bars.index)
    return of_day.where(bars["interval"] == "1d", bars["ts"] + pd.Timedelta(hours=1))


def _walk(symbol: str, interval: str, ts: pd.DatetimeIndex, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    close = np.round(50 * np.exp(np.cumsum(random.normal(0, 0.02, len(ts)))), 2)
    asset_class, currency, _, _ = INSTRUMENTS[symbol]
    bars = pd.DataFrame({"symbol": symbol, "asset_class": asset_class, "interval": interval, "ts": ts, "close": close})
    bars = bars.assign(open=close, high=close * 1.01, low=close * 0.99, adj_close=close, currency=currency)
    bars["volume"] = np.nan if symbol == "SP500" else random.integers(1, 20, len(ts)).astype(float)
    return bars.assign(source="test", batch_id="a", ingested_at=datetime(2025, 1, 1, tzinfo=UTC), year=ts.year)


def _world() -> World:
    sessions, frames = _known()["sessions"], []
    for seed, (symbol, (_, _, calendar, _)) in enumerate(INSTRUMENTS.items()):
        is_its = (sessions["calendar"] == calendar) & sessions["ts"].between(FIRST, LAST)
        days = pd.DatetimeIndex(sessions.loc[is_its, "ts"])
        frames.append(_walk(symbol, "1d", days.drop(days[100 + seed]), seed))
    around_summer_time = (sessions["ts"] - pd.Timestamp("2024-03-10", tz="UTC")).abs() < pd.Timedelta(days=34)
    hours = sessions[(sessions["calendar"] == "XNYS") & around_summer_time]
    starts = [opens + pd.Timedelta(hours=n) for opens in hours["opens_at"] for n in range(7)]
    frames.append(_walk("KO", "1h", pd.DatetimeIndex(starts), 9))
    return World(pd.concat(frames, ignore_index=True), _macro(), _news())


def _macro() -> pd.DataFrame:
    random = np.random.default_rng(1)
    months = pd.date_range("2022-01-01", "2024-08-01", freq="MS", tz="UTC")
    frames = []
    for series, delay, periods in (
        ("FEDFUNDS", 35, months[18:]),
        ("CPIAUCSL", 42, months),
        ("GDPC1", 118, months[::3]),
    ):
        first = pd.DataFrame({"series": series, "ts": periods, "released_at": periods + pd.Timedelta(days=delay)})
        revised = first.assign(released_at=first["released_at"] + pd.Timedelta(days=40)).iloc[::2]
        frames += [first, revised]
    rows = pd.concat(frames).assign(source="fred", ingested_at=datetime(2025, 1, 1, tzinfo=UTC))
    late = datetime(2024, 5, 5, tzinfo=UTC)
    undated = {"PN01273PM": months, "PD12301MD": pd.date_range(FIRST, LAST, freq="7D"), "TB3MS": months[::3]}
    for series, periods in undated.items():
        known = pd.DataFrame({"series": series, "ts": periods, "source": "bcrp", "released_at": pd.NaT})
        known["ingested_at"] = np.maximum(known["ts"] + pd.Timedelta(days=3), pd.Timestamp(late))
        rows = pd.concat(
            [rows, known, known.iloc[::5].assign(ingested_at=known["ingested_at"] + pd.Timedelta(days=90))]
        )
    for column in ("ts", "released_at", "ingested_at"):
        rows[column] = pd.to_datetime(rows[column], utc=True)
    return rows.assign(value=np.round(random.uniform(1, 9, len(rows)), 2), batch_id="a").reset_index(drop=True)


def _news() -> pd.DataFrame:
    random = np.random.default_rng(2)
    words = np.array(["shares plunge", "beats expectations", "opens a second plant", "upgraded after record results"])
    ts = FIRST + pd.to_timedelta(np.sort(random.integers(0, 480 * 24 * 4, 900)) * 15, unit="min")
    symbols = random.choice(["AAPL", "KO", "7203.T"], 900)
    headlines = symbols + " " + random.choice(words, 900)
    news = pd.DataFrame({"symbol": symbols, "ts": ts, "id": np.arange(900).astype(str), "headline": headlines})
    return news.assign(source="news", batch_id="a", ingested_at=datetime(2025, 1, 1, tzinfo=UTC))


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Builds features from a world, by the SQL of the project."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LAKEHOUSE_HOME", str(tmp_path_factory.mktemp("home")))
        found = model_queries()
    chain = ("market/bars", "market/indicators", "market/cross_section", "market/features")
    return lambda world: world.build({table: found[table] for table in chain})


@pytest.fixture(scope="module")
def world() -> World:
    return _world()


@pytest.fixture(scope="module")
def features(world: World, build: Build) -> pd.DataFrame:
    return build(world)


def _series(features: pd.DataFrame) -> list[pd.DataFrame]:
    return [rows.reset_index(drop=True) for _, rows in features.groupby(["symbol", "interval"])]


def test_trends_and_lags_are_what_their_columns_say(features: pd.DataFrame) -> None:
    for rows in _series(features):
        close, log_close = rows["close"], np.log(rows["close"])
        expected = {f"log_return_1_lag_{n}": log_close.diff().shift(n) for n in (1, 2, 3, 5, 10)}
        averages = {"close": close} | {f"sma_{n}": close.rolling(n).mean() for n in (5, 20, 50, 200)}
        pairs = (
            ("close", "sma_5"),
            ("close", "sma_20"),
            ("sma_5", "sma_20"),
            ("sma_20", "sma_50"),
            ("sma_50", "sma_200"),
        )
        for fast, slow in pairs:
            move = averages[fast] - averages[slow]
            expected[f"{fast}_minus_{slow}"] = move / (close * rows["ewma_vol"])
        line = [np.polyval(np.polyfit(range(60), log_close[end - 60 : end], 1), 59) for end in range(60, len(rows) + 1)]
        expected["detrended_60"] = log_close - pd.Series([np.nan] * 59 + line)
        for name, values in expected.items():
            np.testing.assert_allclose(rows[name], values, rtol=1e-9, atol=1e-11, err_msg=name)


def test_ranks_are_those_among_the_bars_that_close_together(features: pd.DataFrame) -> None:
    values = features.assign(
        traded=features["last_price"] * features["volume"],
        turbulence=features.groupby(["symbol", "interval"])["log_return_1"].transform(lambda it: it.rolling(20).std()),
    )
    ranked = {
        "rank_return_1": ("log_return_1", []),
        "rank_momentum_20": ("log_return_20", []),
        "rank_volatility_20": ("turbulence", []),
        "rank_volume": ("volume", []),
        "rank_liquidity": ("traded", ["currency"]),
    }
    for rank, (column, among) in ranked.items():
        groups = values.groupby(["interval", "closes_at", *among])[column]
        others = groups.transform("count") - 1
        expected = ((groups.rank() - 1) / others).where(others > 0, 0.5).where(values[column].notna())
        np.testing.assert_allclose(features[rank], expected, rtol=1e-12, err_msg=rank)
    assert features["rank_volume"].nunique() > 5


def test_the_calendar_is_that_of_the_exchange(features: pd.DataFrame) -> None:
    new_york = features[features["symbol"].isin(["AAPL", "KO"]) & (features["ts"] >= "2024-01-02")]
    days = new_york["ts"].dt.normalize()
    holidays = [
        "01-01",
        "01-15",
        "02-19",
        "03-29",
        "05-27",
        "06-19",
        "07-04",
        "09-02",
        "11-28",
        "12-25",
    ]  # of the NYSE in 2024
    closed = pd.DatetimeIndex([f"2024-{day}" for day in holidays], tz="UTC")
    at = closed.searchsorted(days)
    expected = {
        "day_of_week": days.dt.dayofweek + 1,
        "month": days.dt.month,
        "quarter": days.dt.quarter,
        "days_to_month_end": (days + pd.offsets.MonthEnd(0) - days).dt.days,
        "days_since_holiday": (days - closed[at - 1]).dt.days,
        "days_to_holiday": (closed[at] - days).dt.days,
    }
    for name, values in expected.items():
        np.testing.assert_array_equal(new_york[name], values, err_msg=name)


def test_classes_are_columns_of_one_and_zero(features: pd.DataFrame) -> None:
    classes = [name for name in features if name.startswith("is_")]
    sectors = [name for name in features if name.startswith("sector_")]
    assert sectors == [f"sector_{sector}" for sector in SECTORS]
    assert set(features[classes].sum(axis=1)) == {1}
    newest = features.groupby("symbol").last()
    assert newest.loc["XOM", sectors].to_dict() == dict.fromkeys(sectors, 0) | {"sector_energy": 1}
    assert newest.loc["SP500", sectors].sum() == 0
    assert newest["is_index"].to_dict() == {symbol: int(symbol == "SP500") for symbol in INSTRUMENTS}


def test_intraday_means_are_those_of_the_same_minute_and_time(features: pd.DataFrame) -> None:
    hours = features[features["interval"] == "1h"]
    clock = hours["ts"].dt.tz_convert("America/New_York")  # summer time begins in the midst of it
    for unit, time, sizes in (("h", clock.dt.minute, (7, 25, 99)), ("d", clock.dt.strftime("%H:%M"), (7, 25))):
        for n in sizes:
            expected = hours.groupby(time)["close"].transform(lambda it, n=n: it.rolling(n).mean())
            np.testing.assert_allclose(hours[f"ma_{n}{unit}"], expected, rtol=1e-12)
            assert expected.notna().any()
    assert features.loc[features["interval"] == "1d", ["ma_7h", "ma_7d"]].isna().all(axis=None)


def test_news_are_those_since_the_bar_before(features: pd.DataFrame, world: World) -> None:
    for rows in _series(features):
        news = world.news[world.news["symbol"] == rows["symbol"][0]]
        for since, at, row in zip(
            rows["closes_at"][::5], rows["closes_at"][1::5], rows[1::5].itertuples(), strict=False
        ):
            new = news.loc[(news["ts"] >= since) & (news["ts"] < at), "headline"]
            assert row.news_count == len(new)
            expected = np.mean([headline_sentiment(text) for text in new]) if len(new) else np.nan
            np.testing.assert_allclose(row.news_sentiment, expected, rtol=1e-12)
    assert features["news_count"].max() > 1


def known_at(macro: pd.DataFrame) -> pd.Series:
    """When each row of raw/macro counts as known."""
    delay = macro["series"].map({"PD12301MD": 7, "PN01273PM": 80, "TB3MS": 95}).fillna(0)
    usual = (macro["ts"] + pd.to_timedelta(delay, unit="D")).clip(upper=macro["ingested_at"])
    is_first = macro.groupby(["series", "ts"])["ingested_at"].transform("min") == macro["ingested_at"]
    return (macro["released_at"] + pd.Timedelta(days=1)).fillna(usual.where(is_first, macro["ingested_at"]))


def test_the_economy_is_as_it_was_known(features: pd.DataFrame, world: World) -> None:
    macro = world.macro.assign(known_at=known_at(world.macro))

    def newest(series: str, at: pd.Timestamp, period: pd.Timestamp | None = None) -> "pd.Series | None":
        rows = macro[(macro["series"] == series) & (macro["known_at"] <= at)]
        rows = rows if period is None else rows[rows["ts"] == period]
        return None if rows.empty else rows.sort_values(["ts", "known_at"]).iloc[-1]

    def share(series: str, at: pd.Timestamp) -> float:
        found = newest(series, at)
        return np.nan if found is None or at >= found["ts"] + pd.Timedelta(days=400) else found["value"] / 100

    def change(series: str, at: pd.Timestamp) -> float:
        found = newest(series, at)
        assert found is not None
        before = newest(series, found["known_at"], found["ts"] - pd.DateOffset(months=12))
        return np.nan if before is None else found["value"] / before["value"] - 1

    rates = set()
    for row in features[features["interval"] == "1d"][::11].itertuples():
        at = row.closes_at
        expected = [np.nan] * 3
        if row.symbol in ("AAPL", "KO", "XOM", "SP500"):
            rate = "TB3MS" if newest("FEDFUNDS", at) is None else "FEDFUNDS"
            rates.add(rate)
            expected = [change("GDPC1", at), change("CPIAUCSL", at), share(rate, at)]
        elif row.symbol == "BVN.LM":
            expected = [np.nan, share("PN01273PM", at), share("PD12301MD", at)]
        np.testing.assert_allclose([row.gdp_growth, row.inflation, row.policy_rate], expected, rtol=1e-9)
    assert rates == {"FEDFUNDS", "TB3MS"}


def test_tokyo_sees_new_york_of_the_day_before_and_new_york_its_own_close(features: pd.DataFrame) -> None:
    days = features[features["interval"] == "1d"].set_index(["symbol", "ts"])
    index = days.loc["SP500", "scaled_return_1"]
    day, before = pd.Timestamp("2024-09-25", tz="UTC"), pd.Timestamp("2024-09-24", tz="UTC")
    seen = days["market_scaled_return_1"]
    assert (seen["AAPL", day], seen["SP500", day], seen["BVN.LM", day]) == (index[day],) * 3
    assert seen["7203.T", day] == index[before]
    assert days["market_filled"]["7203.T", day]
    assert not days["market_filled"]["AAPL", day]


@settings(max_examples=8, deadline=None, phases=[Phase.generate])
@given(share=st.floats(0.3, 0.95), seed=st.integers(0, 1_000))
def test_what_comes_to_be_known_later_changes_nothing_before(
    features: pd.DataFrame, world: World, build: Build, share: float, seed: int
) -> None:
    closes = np.sort(features["closes_at"].unique())
    moment = closes[int(share * (len(closes) - 1))]
    random = np.random.default_rng(seed)

    def changed(rows: pd.DataFrame, is_later: pd.Series, columns: list[str]) -> pd.DataFrame:
        """The later rows: some or all are gone, the others tell something else."""
        later = rows[is_later & (random.random(len(rows)) > random.choice([0.0, 0.3, 1.0]))]
        told = {column: later[column] * random.uniform(0.5, 2, len(later)) for column in columns}
        return pd.concat([rows[~is_later], later.assign(**told)], ignore_index=True)

    bars = changed(world.bars, _closes_at(world.bars) > moment, ["close", "adj_close", "volume"])
    newcomer = bars[(bars["symbol"] == "AAPL") & (bars["ts"] > moment)].assign(symbol="NEW", source="file")
    news = changed(world.news, world.news["ts"] >= moment, [])
    newest = world.news.iloc[:2].assign(ts=moment, id="new", headline="fraud")
    macro = changed(world.macro, known_at(world.macro) > moment, ["value"])
    other = build(World(pd.concat([bars, newcomer]), macro, pd.concat([news, newest])))
    assert not other.equals(features)
    before, still = (it[it["closes_at"] <= moment].reset_index(drop=True) for it in (features, other))
    pd.testing.assert_frame_equal(before, still, rtol=1e-12, atol=1e-12)
