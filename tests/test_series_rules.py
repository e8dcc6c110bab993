"""Rules of a series: the formulas against a slow reading of their definition; no bar is judged by its future."""

from collections.abc import Callable
from itertools import pairwise
from random import Random
from statistics import median

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lake.series_rules import SERIES_COLUMNS, series_failures
from lake.severities import Severities
from tests.bars import PRICES, walk

FLAG_ALL = Severities(currency_change="flag")
REJECT_ALL = Severities(unadjusted_split="reject", jump="reject", frozen="reject")
MIXED = Severities(currency_change="flag", jump="reject", frozen="reject")
SPLITS = (1.5, 2, 3, 4, 5, 7, 10, 20)
Findings = set[tuple[int, str]]


def knowing(known: pd.DataFrame) -> Callable[..., pd.DataFrame]:
    """What the lake answers when it knows these bars."""

    def answer(symbols: np.ndarray, interval: str, *, since: pd.Timestamp, until: pd.Timestamp) -> pd.DataFrame:
        wanted = known["symbol"].isin(symbols) & (known["interval"] == interval) & known["ts"].between(since, until)
        return known.loc[wanted, list(SERIES_COLUMNS)]

    return answer


def broken(bars: pd.DataFrame, severities: Severities = FLAG_ALL, known: pd.DataFrame | None = None) -> Findings:
    found = series_failures(bars, knowing(bars[:0] if known is None else known), severities)
    return set(found["rule"].items())


def by_definition(bars: pd.DataFrame, severities: Severities) -> Findings:
    """The rules of daily bars as docs/quality.md says them, one bar after the other."""
    findings: Findings = set()
    for _, series in bars.groupby("symbol"):
        accepted: list[pd.Series] = []
        for label, bar in series.sort_values("ts").iterrows():
            rules = list(_broken_by(bar, accepted, severities)) if accepted else []
            rejecting = [rule for rule in rules if getattr(severities, rule) == "reject"]
            findings |= {(label, rule) for rule in rejecting or rules}
            if not rejecting:
                accepted.append(bar)
    return findings


def _broken_by(bar: pd.Series, before: list[pd.Series], severities: Severities) -> list[str]:
    rules = []
    if bar["currency"] != before[-1]["currency"]:
        rules.append("currency_change")
        if severities.currency_change == "reject":
            return rules
    prices = [np.log(one["adj_close"]) for one in [*before, bar]]
    *returns, change = (new - old for old, new in pairwise(prices))
    close_change = np.log(bar["close"] / before[-1]["close"])
    ratios = [sign * np.log(ratio) for ratio in SPLITS for sign in (-1, 1)]
    history = returns[-250:]
    if bar["asset_class"] in ("equity", "etf") and any(
        abs(change - r) <= 0.03 and abs(close_change - r) <= 0.03 for r in ratios
    ):
        rules.append("unadjusted_split")
    elif abs(change) > 0.20 and len(history) >= 20:
        center = median(history)
        deviation = median(abs(r - center) for r in history)
        if 0.6745 * abs(change - center) > 8 * deviation:
            rules.append("jump")
    run = 1
    for old in reversed(before):
        if old["close"] != bar["close"] or any(old[it] != bar[it] for it in ("open", "high", "low")):
            break
        run += 1
    return [*rules, "frozen"] if run >= 5 else rules


@st.composite
def markets(draw: st.DrawFn) -> pd.DataFrame:
    """Two series with what the rules look for here and there: jumps, splits, frozen prices, another currency."""
    parts = []
    for number in range(2):
        length = draw(st.integers(2, 60))
        bars = walk(f"S{number}", length, seed=draw(st.integers(0, 5)))
        for column in ("open", "high", "low"):
            bars[column] = bars["close"]
        events = st.tuples(st.integers(0, length - 1), st.sampled_from([0.1, 0.5, 0.7, 1.3, 2.0, 3.1]), st.booleans())
        for place, factor, lasts in draw(st.lists(events, max_size=4)):
            rows = slice(place, length - 1 if lasts else place)
            bars.loc[rows, PRICES] *= factor
        for place, rows in draw(st.lists(st.tuples(st.integers(0, length - 1), st.integers(1, 9)), max_size=2)):
            bars.loc[place : place + rows, PRICES] = bars.loc[place, PRICES].to_numpy()
        for place in draw(st.lists(st.integers(0, length - 1), max_size=2)):
            bars.loc[place, "currency"] = "EUR"
        parts.append(bars)
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("severities", [FLAG_ALL, Severities(), MIXED, REJECT_ALL])
@hypothesis_settings(max_examples=30, deadline=None)
@given(bars=markets(), random=st.randoms(use_true_random=False))
def test_the_rules_are_what_their_definition_says(severities: Severities, bars: pd.DataFrame, random: Random) -> None:
    shuffled = bars.sample(frac=1, random_state=random.randrange(99))
    assert broken(shuffled, severities) == by_definition(bars, severities)


@pytest.mark.parametrize("severities", [FLAG_ALL, MIXED, REJECT_ALL])
@hypothesis_settings(max_examples=30, deadline=None)
@given(bars=markets(), share=st.floats(0, 1))
def test_the_future_never_changes_what_was_found_and_the_cut_into_batches_does_not_matter(
    severities: Severities, bars: pd.DataFrame, share: float
) -> None:
    day = bars["ts"].sort_values().iloc[int(share * (len(bars) - 1))]
    past, later = bars[bars["ts"] <= day], bars[bars["ts"] > day]
    whole, first = broken(bars, severities), broken(past, severities)
    assert {finding for finding in whole if finding[0] in past.index} == first
    rejected = {label for label, rule in first if getattr(severities, rule) == "reject"}
    second = broken(later, severities, known=past.drop(index=sorted(rejected)))
    assert first | second == whole


def test_a_long_history_is_asked_for_only_where_a_return_is_suspicious() -> None:
    bars = pd.concat([walk(symbol, 300) for symbol in ("CALM", "WILD")], ignore_index=True)
    today = bars["ts"] == bars["ts"].max()
    bars.loc[today & (bars["symbol"] == "WILD"), ["close", "adj_close"]] *= 1.25
    asked = []

    def known(symbols: np.ndarray, interval: str, *, since: pd.Timestamp, until: pd.Timestamp) -> pd.DataFrame:
        asked.append((set(symbols), (bars["ts"].max() - since).days))
        return knowing(bars[~today])(symbols, interval, since=since, until=until)

    found = series_failures(bars[today], known, Severities())
    assert found["rule"].tolist() == ["jump"]
    assert "250 before it" in found["reason"].item()
    assert asked == [({"CALM", "WILD"}, 30), ({"WILD"}, 400)]


@pytest.mark.parametrize("factor", [f for split in SPLITS for f in (split, 1 / split)])
def test_a_split_that_was_missed_is_named_with_its_ratio(factor: float) -> None:
    bars = walk(sessions=4)
    bars.loc[2:, ["close", "adj_close"]] *= factor
    (found,) = series_failures(bars, knowing(bars[:0]), Severities()).itertuples()
    new, old = (round(1 / factor * 2), 2) if factor < 1 else (2, round(factor * 2))
    new, old = (new // 2, old // 2) if new % 2 == old % 2 == 0 else (new, old)
    assert (found.Index, found.rule) == (2, "unadjusted_split")
    assert f"{new}:{old} split" in found.reason


def test_a_split_that_is_adjusted_for_is_none() -> None:
    bars = walk(sessions=40)
    bars.loc[30:, "close"] /= 2
    assert broken(bars) == set()


def test_an_index_does_not_split() -> None:
    bars = walk(sessions=40).assign(asset_class="volatility")
    bars.loc[30:, ["close", "adj_close"]] *= 2
    assert broken(bars) == {(30, "jump")}


@pytest.mark.parametrize(("interval", "floor", "frozen"), [("1d", 0.20, 5), ("1h", 0.15, 24), ("1m", 0.10, 60)])
def test_each_interval_has_its_floor_and_its_run(interval: str, floor: float, frozen: int) -> None:
    step = {"1d": "1D", "1h": "1h", "1m": "1min"}[interval]
    bars = walk(sessions=150).assign(
        interval=interval, ts=pd.date_range("2022-01-03", periods=150, freq=step, tz="UTC")
    )
    bars = bars.assign(open=np.nan, high=np.nan, low=np.nan)
    bars.loc[30:, "adj_close"] *= np.exp(floor + 0.03 - np.log(bars["adj_close"][30] / bars["adj_close"][29]))
    bars.loc[40:, "adj_close"] *= np.exp(floor - 0.01 - np.log(bars["adj_close"][40] / bars["adj_close"][39]))
    bars.loc[60 : 60 + frozen, "close"] = 1.0
    assert broken(bars) == {(30, "jump"), (60 + frozen - 1, "frozen"), (60 + frozen, "frozen")}


def test_after_a_rejected_bar_the_series_goes_on_from_the_one_before_it() -> None:
    bars = walk(sessions=40)
    bars.loc[30, PRICES] *= 0.1
    assert broken(bars) == {(30, "unadjusted_split"), (31, "unadjusted_split")}
    assert broken(bars, REJECT_ALL) == {(30, "unadjusted_split")}
    off = Severities(unadjusted_split="off", jump="off", frozen="off", currency_change="off")
    assert broken(bars, off) == set()


def test_a_corrected_bar_takes_the_place_of_the_known_one() -> None:
    known = walk(sessions=40)
    known.loc[39, ["close", "adj_close"]] *= 0.6
    right = walk(sessions=40)[39:]
    assert broken(known) == {(39, "jump")}
    assert broken(right, known=known) == set()
