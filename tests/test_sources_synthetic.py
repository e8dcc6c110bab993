"""The synthetic market: statistics that real markets have, bars that agree with each other, and the same every time."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from lake.ingest import unbalanced_batches, write_instruments
from lake.providers import Synthetic
from lake.sources.base import ACTION_COLUMNS, BAR_COLUMNS
from lake.sources.instruments import INSTRUMENTS
from lake.sources.synthetic import SyntheticSource, ingest_synthetic
from lake.store import Lake

SECTORS = 11


def source(symbols: int = 44, sessions: int = 2_500, seed: int = 7, minute_symbols: int = 0) -> SyntheticSource:
    return SyntheticSource(Synthetic(symbols=symbols, sessions=sessions, seed=seed, minute_symbols=minute_symbols))


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    return source().fetch([], None, None)


@pytest.fixture(scope="module")
def returns(bars: pd.DataFrame) -> pd.DataFrame:
    """Log returns of the adjusted closes, a column a symbol."""
    moves = np.log(bars["adj_close"]).groupby(bars["symbol"]).diff()
    return bars.assign(move=moves).pivot(index="ts", columns="symbol", values="move").iloc[1:]


def test_no_symbol_can_be_taken_for_a_real_one(bars: pd.DataFrame) -> None:
    assert set(bars["symbol"]) == {f"SYN{number:04}" for number in range(1, 45)}
    assert not set(bars["symbol"]) & {instrument.symbol for instrument in INSTRUMENTS}
    assert {instrument.source for instrument in source().instruments} == {"synthetic"}
    assert all(instrument.name.startswith("Synthetic ") for instrument in source().instruments)


def test_bars_are_sane(bars: pd.DataFrame) -> None:
    assert list(bars.columns) == [*BAR_COLUMNS, *ACTION_COLUMNS]
    assert (bars["low"] > 0).all()
    assert (bars["high"] >= bars[["open", "close"]].max(axis=1)).all()
    assert (bars["low"] <= bars[["open", "close"]].min(axis=1)).all()
    prices = bars[["open", "high", "low", "close"]]
    np.testing.assert_array_equal(prices, prices.round(2))
    assert not bars.isna().any(axis=None)
    assert not bars.duplicated(["symbol", "ts"]).any()


def test_tails_are_fatter_than_normal(returns: pd.DataFrame) -> None:
    assert returns.kurt().min() > 1  # excess kurtosis: a normal sample of this size stays within 0.4


def test_volatility_clusters(returns: pd.DataFrame) -> None:
    noise = 2 / np.sqrt(len(returns))
    correlations = pd.Series({symbol: values.abs().dropna().autocorr() for symbol, values in returns.items()})
    assert correlations.median() > noise
    assert abs(returns.apply(lambda values: values.dropna().autocorr()).median()) < noise


def test_names_of_a_sector_move_together_more_than_others(returns: pd.DataFrame) -> None:
    correlation = returns.corr().to_numpy()
    sector = np.array([int(symbol[3:]) % SECTORS for symbol in returns])
    same = sector[:, None] == sector
    within, across = correlation[same & ~np.eye(len(sector), dtype=bool)].mean(), correlation[~same].mean()
    assert within > across + 0.1
    assert across > 0.1


def test_the_adjusted_close_follows_from_splits_and_dividends(bars: pd.DataFrame) -> None:
    assert (bars["split"] == 2).any()
    assert (bars["split"] == 0.1).any()
    assert (bars["dividend"] > 0).any()
    for _, series in bars.groupby("symbol"):
        steps = series["split"] / (1 - series["dividend"] / series["close"].shift())
        expected = series["close"] * steps.fillna(1.0).cumprod()
        np.testing.assert_allclose(series["adj_close"], expected, rtol=1e-6)


def test_trading_halts_leave_no_bar_or_one_without_volume(bars: pd.DataFrame) -> None:
    sessions = bars["ts"].nunique()
    missing = sessions - bars.groupby("symbol")["ts"].count()
    halted = bars[bars["volume"] == 0]
    assert (missing > 0).any()
    assert len(halted)
    assert not set(halted["symbol"]) & set(missing.index[missing > 0])
    assert (halted[["open", "high", "low"]].to_numpy() == halted[["close"]].to_numpy()).all()


def test_a_history_depends_on_its_seed_and_symbol_alone(bars: pd.DataFrame) -> None:
    alone = source(symbols=30).fetch(["SYN0030"], None, None)
    in_chunks = pd.concat(source(symbols=30).frames(symbols_per_frame=7))
    for other in (alone, in_chunks[in_chunks["symbol"] == "SYN0030"].reset_index(drop=True)):
        expected = bars[bars["symbol"] == "SYN0030"].reset_index(drop=True)
        pd.testing.assert_frame_equal(other, expected, check_exact=True)
    assert not source(seed=8).fetch(["SYN0030"], None, None)["close"].equals(alone["close"])


def test_more_sessions_only_append(bars: pd.DataFrame) -> None:
    longer = source(symbols=3, sessions=2_501)
    daily, news = longer.fetch(["SYN0003"], None, None), longer.news(["SYN0003"])
    known = bars[bars["symbol"] == "SYN0003"].reset_index(drop=True)
    assert len(daily) == len(known) + 1
    pd.testing.assert_frame_equal(daily.iloc[:-1], known, check_exact=True)
    assert news[: len(source().news(["SYN0003"]))].equals(source().news(["SYN0003"]))
    one, two = source().intraday(["SYN0003"], "1h", 1), longer.intraday(["SYN0003"], "1h", 2)
    pd.testing.assert_frame_equal(two[: len(one)], one, check_exact=True)


@pytest.mark.parametrize(("interval", "bars_a_day"), [("1m", 390), ("1h", 7)])
def test_intraday_bars_make_the_daily_bar(bars: pd.DataFrame, interval: str, bars_a_day: int) -> None:
    intraday = source().intraday(["SYN0001", "SYN0002"], interval, 60)
    together = intraday.groupby(["symbol", intraday["ts"].dt.normalize()]).agg(
        open=("open", "first"), high=("high", "max"), low=("low", "min"), close=("close", "last"),
        adj_close=("adj_close", "last"), volume=("volume", "sum"), count=("close", "size"),
    )  # fmt: skip
    daily = bars.set_index(["symbol", "ts"]).loc[together.index, together.columns[:-1]]
    pd.testing.assert_frame_equal(together[daily.columns], daily, rtol=1e-12)
    assert together["count"].median() == bars_a_day
    assert together["count"].min() < bars_a_day  # the day after Thanksgiving
    assert (intraday["high"] >= intraday[["open", "close"]].max(axis=1)).all()
    assert (intraday["low"] <= intraday[["open", "close"]].min(axis=1)).all()
    for before, after in pairwise(intraday[intraday["symbol"] == "SYN0001"].itertuples()):
        assert before.close == after.open or before.ts.date() < after.ts.date()


def test_volume_of_a_day_is_a_smile() -> None:
    minutes = source().intraday(["SYN0001"], "1m", 60)
    volume = minutes.groupby(minutes.groupby(minutes["ts"].dt.date).cumcount())["volume"].mean()[:390]
    noon = volume[180:210].mean()
    assert min(volume[:30].mean(), volume[360:].mean()) > 1.5 * noon


def test_news_have_the_sign_of_the_move(returns: pd.DataFrame) -> None:
    news = source().news()
    moves = np.expm1(returns.stack())
    said = news.set_index(["ts", "symbol"]).sort_index()
    on = pd.MultiIndex.from_arrays([said.index.get_level_values(0).normalize(), said.index.get_level_values(1)])
    moved = moves.reindex(on).to_numpy()
    rises, falls = (said["headline"].str.contains(word).to_numpy() for word in (" rises ", " falls "))
    assert min(rises.sum(), falls.sum(), (~rises & ~falls).sum()) > 100
    assert (moved[rises] > 0).all()
    assert (moved[falls] < 0).all()
    assert (news["ts"].dt.hour >= 17).all()  # after the close
    assert news["id"].is_unique


def test_it_is_ingested_with_its_actions_minutes_and_news(lake: Lake) -> None:
    settings = Synthetic(symbols=3, sessions=1_000, minute_symbols=1)
    write_instruments(lake, (), {it.symbol: it for it in SyntheticSource(settings).instruments})
    batches = ingest_synthetic(lake, settings)
    assert sum(batch.rejected for batch in batches) == 0
    assert unbalanced_batches(lake) == []
    for table in ("raw/bars", "raw/corporate_actions", "raw/news"):
        assert set(lake.read(table)["source"].to_pylist()) == {"synthetic"}
    assert set(lake.read("raw/bars")["interval"].to_pylist()) == {"1d", "1h", "1m"}
    assert set(lake.read("raw/corporate_actions")["kind"].to_pylist()) == {"split", "dividend"}
    before = lake.row_count("raw/bars")
    again = ingest_synthetic(lake, settings)
    assert sum(batch.accepted for batch in again) == 0
    assert lake.row_count("raw/bars") == before
    more = ingest_synthetic(lake, settings.model_copy(update={"sessions": 1_001}))
    assert more[0].accepted == 3


def test_without_the_setting_there_is_none(lake: Lake) -> None:
    assert ingest_synthetic(lake, Synthetic()) == []
