"""The rules that a bar must keep as part of its series: jumps, missed splits, frozen prices, a changed currency."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import inf, log

import numpy as np
import pandas as pd

from lake.quality import join_failures
from lake.severities import Severities

SERIES_COLUMNS = ("symbol", "asset_class", "ts", "open", "high", "low", "close", "adj_close", "currency")
"""Columns that known bars must have."""


_RETURNS = 250  # that a return is compared with
_FEWEST_RETURNS = 20
_LARGEST_Z = 8.0
_SPLITS = tuple(Fraction(ratio) for ratio in ("3/2", "2", "3", "4", "5", "7", "10", "20"))
_SPLIT_TOLERANCE = 0.03  # of the log return, for what the market does on the day of the split
_SPLITTABLE = ("equity", "etf")


@dataclass(frozen=True)
class _Scale:
    """What the rules mean at one interval.

    Attributes
    ----------
    floor : no smaller absolute log return is a jump, however quiet the series.
    frozen : so many bars with the same prices are frozen.
    near, far : days that hold `frozen` bars of nearly every series, and `_RETURNS` bars of one that trades.
    """

    floor: float
    frozen: int
    near: int
    far: int


_SCALES = {
    "1d": _Scale(floor=0.20, frozen=5, near=30, far=400),
    "1h": _Scale(floor=0.15, frozen=24, near=10, far=90),
    "1m": _Scale(floor=0.10, frozen=60, near=5, far=10),
}


def series_failures(bars: pd.DataFrame, known: Callable[..., pd.DataFrame], severities: Severities) -> pd.DataFrame:
    """The rules that new bars break as part of their series.

    A bar is compared with those before it, new and known, where a new bar takes the place of a known one. A rejected
    bar is no part of the series: the next one is compared with the last before it. So bars that come later never
    change a finding, and it does not matter how a history is cut into batches.

    Parameters
    ----------
    bars : valid bars of any series, each key once, any unique index.
    known : gives known bars (`SERIES_COLUMNS`) as `known(symbols, interval, since=..., until=...)`, both included;
        a long history is asked for of series with a suspicious return only.

    Returns
    -------
    Frame with the columns `rule`, `reason` and `severity`, indexed like `bars`: a row for each rule that a bar breaks,
    or, where one of them rejects it, for that one.

    References
    ----------
    Iglewicz and Hoaglin (1993), How to Detect and Handle Outliers: modified z-score 0.6745 (x - median) / MAD.
    """
    found = []
    intervals, names = pd.factorize(bars["interval"])
    for number, interval in enumerate(names):
        scale = _SCALES[interval]
        new = bars[intervals == number] if len(names) > 1 else bars
        found.append(_judged(_with_known(new, known, interval, scale), scale, severities))
    return join_failures(*found).reindex(columns=["rule", "reason", "severity"])


def _judged(series: pd.DataFrame, scale: _Scale, severities: Severities) -> pd.DataFrame:
    """What the rules find, where each sees the series without the bars that the others reject."""
    judges = (_currency_changes, _price_jumps, _frozen_prices)
    found = {judge: pd.DataFrame(columns=["rule", "reason", "severity"]) for judge in judges}
    settled = False
    while not settled:  # ends, since a finding depends on earlier bars only
        settled = True
        for judge in judges:
            rejected = {bar for other in judges if other is not judge for bar in _rejected(found[other])}
            seen = _placed(series.drop(index=sorted(rejected))) if rejected else series
            failures = judge(seen, scale, severities)
            failures.index = seen.index[failures.index]
            failures = failures.assign(severity=failures["rule"].map(dict(severities))).query("severity != 'off'")
            settled &= _rejected(failures) == _rejected(found[judge])
            found[judge] = failures
    failures = join_failures(*found.values())
    return failures.set_index(series["label"].to_numpy()[failures.index])


def _rejected(failures: pd.DataFrame) -> set[int]:
    return set(failures.index[failures["severity"] == "reject"])


def _with_known(new: pd.DataFrame, known: Callable[..., pd.DataFrame], interval: str, scale: _Scale) -> pd.DataFrame:
    """New and known bars, ordered by series and time, with as much history as the rules need."""
    symbols = pd.Index(new["symbol"].unique().astype("object"))
    first, last = new["ts"].min(), new["ts"].max()
    near, far = first - pd.Timedelta(days=scale.near), first - pd.Timedelta(days=scale.far)
    bars = _numbered(new, symbols).assign(label=new.index, new=True)
    context = _numbered(known(symbols.to_numpy(), interval, since=near, until=last), symbols)
    series = _ordered(bars, context)
    suspicious = _distant(series, scale) & (series["position"] < _RETURNS)
    short = series["new"] & (suspicious | (series["position"] < scale.frozen))
    if short.any():
        earlier = known(symbols[series["symbol"][short].unique()].to_numpy(), interval, since=far, until=near)
        series = _ordered(bars, context, _numbered(earlier, symbols)) if len(earlier) else series
    return series


def _numbered(bars: pd.DataFrame, symbols: pd.Index) -> pd.DataFrame:
    """Bars with `symbol` as its place in `symbols`, and `ts` in microseconds, which sorts fast."""
    places = symbols.get_indexer(pd.Index(bars["symbol"]))
    ts = bars["ts"].dt.as_unit("us").astype("int64")
    return bars[list(SERIES_COLUMNS)].assign(symbol=places, ts=ts, label=-1, new=False)


def _ordered(bars: pd.DataFrame, *context: pd.DataFrame) -> pd.DataFrame:
    """Bars by symbol and time, new ones in the place of known ones."""
    both = pd.concat([*(known for known in context if len(known)), bars], ignore_index=True)
    symbol, ts = both["symbol"].to_numpy(), both["ts"].to_numpy()
    order = np.lexsort((ts, symbol))  # stable: a new bar comes after the known one
    replaced = (np.diff(symbol[order]) == 0) & (np.diff(ts[order]) == 0)
    return _placed(both.take(order[np.append(~replaced, True)]).reset_index(drop=True))


def _placed(series: pd.DataFrame) -> pd.DataFrame:
    """With each bar's `position` in its series, counted from 0."""
    places = np.arange(len(series))
    starts = np.diff(series["symbol"].to_numpy(), prepend=-1) != 0
    return series.assign(position=places - np.maximum.accumulate(np.where(starts, places, 0)))


def _distant(series: pd.DataFrame, scale: _Scale) -> np.ndarray:
    """Whether the absolute log return of each bar exceeds the floor."""
    returns = np.diff(np.log(series["adj_close"].to_numpy()), prepend=np.nan)
    return (np.abs(returns) > scale.floor) & (series["position"].to_numpy() > 0)


def _currency_changes(series: pd.DataFrame, _: _Scale, severities: Severities) -> pd.DataFrame:
    codes, names = pd.factorize(series["currency"])
    number, is_new, position = (series[column].to_numpy() for column in ("symbol", "new", "position"))
    known = np.empty(number.max() + 1, dtype="int64")
    known[number[position == 0]] = codes[position == 0]
    known[number[~is_new]] = codes[~is_new]
    expected = known[number]
    if severities.currency_change != "reject":  # else the bar before it has the currency of the series
        expected = np.where(position > 0, np.roll(codes, 1), expected)
    bad = np.flatnonzero(is_new & (codes != expected))
    reasons = [
        f"currency {names[codes[i]]}, but the series is in {names[expected[i]]}; if the file does not say it, "
        "its mapping can"
        for i in bad
    ]
    return pd.DataFrame({"rule": "currency_change", "reason": reasons}, index=bad)


def _price_jumps(series: pd.DataFrame, scale: _Scale, severities: Severities) -> pd.DataFrame:
    adj_close, close = series["adj_close"].to_numpy(), series["close"].to_numpy()
    prices, number, is_new = np.log(adj_close), series["symbol"].to_numpy(), series["new"].to_numpy()
    asset_class = series["asset_class"].to_numpy()
    start = np.arange(len(series)) - series["position"].to_numpy()
    before = np.arange(len(series)) - 1  # the bar that each is compared with
    kept = np.ones(len(series), dtype=bool)
    found: dict[int, tuple[str, str]] = {}

    @lru_cache(maxsize=1)  # after a rejected bar the next is compared with the same history
    def history(last: int) -> np.ndarray:
        first = max(start[last], last - _RETURNS - len(found))
        return np.diff(prices[first : last + 1][kept[first : last + 1]][-_RETURNS - 1 :])

    waiting = np.flatnonzero(is_new & _distant(series, scale))[::-1].tolist()
    while waiting:
        bar = waiting.pop()
        last = before[bar]
        change = prices[bar] - prices[last]
        if abs(change) <= scale.floor:
            continue
        what = f"adj_close {adj_close[bar]:g} after {adj_close[last]:g}"
        broken = None
        if severities.unadjusted_split != "off" and asset_class[bar] in _SPLITTABLE:
            split = _split(change, log(close[bar] / close[last]))
            broken = ("unadjusted_split", f"{what}, and close alike: {split}") if split else None
        if broken is None and severities.jump != "off":
            z, returns = _modified_z(change, history(last)), len(history(last))
            reason = f"{what} is a log return of {change:.3f}, {z:.3g} robust deviations in the {returns} before it"
            broken = ("jump", reason) if abs(z) > _LARGEST_Z else None
        if broken is None:
            continue
        found[bar] = broken
        following = bar + 1
        if getattr(severities, broken[0]) == "reject":
            kept[bar] = False
            if following < len(series) and number[following] == number[bar] and is_new[following]:
                before[following] = last
                if not waiting or waiting[-1] != following:
                    waiting.append(following)
    return pd.DataFrame(list(found.values()), columns=["rule", "reason"], index=list(found), dtype=object)


def _modified_z(change: float, returns: np.ndarray) -> float:
    """How unusual a return is among those before it; 0 where these are too few to tell."""
    if len(returns) < _FEWEST_RETURNS:
        return 0.0
    median = np.median(returns)
    deviation = float(np.median(np.abs(returns - median)))
    return 0.6745 * float(change - median) / deviation if deviation else float(np.copysign(inf, change - median))


def _split(change: float, close_change: float) -> str:
    """The split that both log returns look like, in words; empty for none."""
    for ratio in _SPLITS:
        for direction in (-1, 1):
            expected = direction * log(ratio)
            if max(abs(change - expected), abs(close_change - expected)) <= _SPLIT_TOLERANCE:
                new, old = (ratio if direction < 0 else 1 / ratio).as_integer_ratio()
                slipped = " or a slipped decimal point" if ratio == 10 else ""
                return f"an unadjusted {new}:{old} split{slipped}?"
    return ""


def _frozen_prices(series: pd.DataFrame, scale: _Scale, _: object) -> pd.DataFrame:
    close = series["close"].to_numpy()
    moved = (series["position"].to_numpy() == 0) | np.append(True, close[1:] != close[:-1])
    for column in ("open", "high", "low"):
        price = series[column].to_numpy()
        both = ~np.isnan(price[1:]) & ~np.isnan(price[:-1])
        moved[1:] |= both & (price[1:] != price[:-1])
    places = np.arange(len(series))
    run = places - np.maximum.accumulate(np.where(moved, places, 0)) + 1
    bad = np.flatnonzero(series["new"].to_numpy() & (run >= scale.frozen))
    reasons = [f"the same prices for {run[i]} bars, close {close[i]:g}" for i in bad]
    return pd.DataFrame({"rule": "frozen", "reason": reasons}, index=bad)
