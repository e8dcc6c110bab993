"""A made-up market, seeded and labelled: for scale tests, and for what no package ships (minutes, halts, news)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import IntEnum
from functools import cache, cached_property

import numpy as np
import pandas as pd

from lake.ingest import BatchResult, ingest, ingest_delivery
from lake.providers import Synthetic
from lake.sources.base import ACTION_COLUMNS, BAR_COLUMNS, INTERVALS, SECTORS, Instrument, cut
from lake.store import Lake

_PRICES = ("open", "high", "low", "close", "adj_close")
_MARKET_SIGMA, _SECTOR_SIGMA, _OWN_SIGMA, _DRIFT = 0.008, 0.007, 0.012, 0.0002  # a day, in a calm regime
_DEGREES = 5  # of freedom of Student's t
_TURBULENCE = 2.5  # times the calm volatility
_REGIME = (1 / 200, 1 / 40)  # probabilities a day: calm to turbulent, and back
_HALT = (1 / 1500, 1 / 3)
_SPLIT_ABOVE, _REVERSE_SPLIT_BELOW = 150.0, 5.0
_QUARTER = 63  # sessions
_INTRADAY_SESSIONS = 20
_NEWS_FROM = 0.06  # absolute return of a day that makes the news
_QUIET_NEWS = 0.003
_RISES = ("after results beat expectations", "on a raised outlook", "as a large order is announced")
_FALLS = ("after results disappoint", "on a lowered outlook", "as a large order is cancelled")
_QUIET = ("names a new head of finance", "confirms its outlook", "opens a second plant")


class _Stream(IntEnum):
    """What random numbers are for: each purpose has a generator of its own, for each symbol."""

    MARKET, SECTOR, NATURE, OWN, TRADING, HALT, MINUTES, NEWS = range(8)


@dataclass(frozen=True)
class _Paths:
    """Daily values of some symbols, shape (symbols, sessions)."""

    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    adj_close: np.ndarray
    volume: np.ndarray
    dividend: np.ndarray
    split: np.ndarray
    delivered: np.ndarray


class SyntheticSource:
    """Stocks that never existed, `SYN0001` and so on, on the sessions of the New York Stock Exchange since 2000.

    Returns are those of the market, a sector and the stock itself, each with Student t innovations and a two-state
    Markov regime of volatility. Prices are as traded, in cents; rich ones split, cheap ones split in reverse, most pay
    dividends. `adj_close` is adjusted forwards, by the split ratio and by 1 - dividend / previous close. A halt leaves
    either no bar or one without volume.

    A series follows from the seed and its symbol alone: more symbols leave it as it is, more sessions append to it.
    """

    name = "synthetic"

    def __init__(self, settings: Synthetic) -> None:
        self._settings = settings
        self.origin = f"synthetic market, seed {settings.seed}"

    @property
    def symbols(self) -> list[str]:
        """The symbols that the settings ask for."""
        return [f"SYN{number:04}" for number in range(1, self._settings.symbols + 1)]

    @property
    def instruments(self) -> list[Instrument]:
        """What the symbols are."""
        return [
            Instrument(
                symbol,
                f"Synthetic {symbol[3:]}",
                "equity",
                "USD",
                "XNYS",
                self.name,
                ends_at=self._ends_at,
                sector=SECTORS[number % len(SECTORS)],
            )
            for symbol, number in zip(self.symbols, _numbers(self.symbols), strict=True)
        ]

    def fetch(self, symbols: Sequence[str], start: date | None, end: date | None) -> pd.DataFrame:
        """Daily bars as `lake.sources.base.Source` describes them, with the columns `ACTION_COLUMNS` too."""
        return cut(self._daily(_numbers(symbols or self.symbols)), (), start, end)

    def frames(self, symbols_per_frame: int = 250) -> Iterator[pd.DataFrame]:
        """All daily bars, some whole series at a time, so that a large market needs little memory."""
        for first in range(0, self._settings.symbols, symbols_per_frame):
            yield self._daily(_numbers(self.symbols[first : first + symbols_per_frame]))

    def intraday(self, symbols: Sequence[str], interval: str, sessions: int) -> pd.DataFrame:
        """Bars of one minute or one hour of the last sessions; together those of a session make its daily bar.

        Volume follows the smile of a trading day. Halted sessions have none.

        Parameters
        ----------
        interval : `1m` or `1h`.
        sessions : how many, counted back from the newest.
        """
        frames = [self._intraday(number, interval, sessions) for number in _numbers(symbols)]
        return pd.concat(frames, ignore_index=True)

    def news(self, symbols: Sequence[str] = ()) -> pd.DataFrame:
        """Headlines after the close, in the columns of `raw/news`: on large moves, in words of their sign, and others.

        Parameters
        ----------
        symbols : default: all.
        """
        return pd.concat([self._news(number) for number in _numbers(symbols or self.symbols)], ignore_index=True)

    @cached_property
    def _schedule(self) -> pd.DataFrame:
        return _past_sessions().iloc[: self._settings.sessions]

    @cached_property
    def _ends_at(self) -> datetime | None:
        """The last session, unless that is the newest there is: then the next one is expected."""
        last: pd.Timestamp = self._schedule.index[-1]
        return last.to_pydatetime() if len(self._schedule) == self._settings.sessions else None

    @cached_property
    def _market(self) -> np.ndarray:
        return _MARKET_SIGMA * self._shocks(_Stream.MARKET, [0])

    @cached_property
    def _sectors(self) -> np.ndarray:
        return _SECTOR_SIGMA * self._shocks(_Stream.SECTOR, range(len(SECTORS)))

    def _random(self, stream: _Stream, number: int, part: int = 0) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self._settings.seed, spawn_key=(stream, number, part)))

    def _draws(
        self, stream: _Stream, numbers: Sequence[int], draw: Callable[[np.random.Generator], np.ndarray], part: int = 0
    ) -> np.ndarray:
        return np.stack([draw(self._random(stream, number, part)) for number in numbers])

    def _shocks(self, stream: _Stream, numbers: Sequence[int]) -> np.ndarray:
        """Fat-tailed innovations; their standard deviation is 1 in calm and `_TURBULENCE` in turbulent regimes."""
        size = len(self._schedule)
        turbulent = _in_second_state(self._draws(stream, numbers, lambda random: random.random(size)), *_REGIME)
        innovations = self._draws(stream, numbers, lambda random: random.standard_t(_DEGREES, size), part=1)
        return innovations * np.sqrt((_DEGREES - 2) / _DEGREES) * np.where(turbulent, _TURBULENCE, 1.0)

    def _paths(self, numbers: Sequence[int]) -> _Paths:
        size = len(self._schedule)
        nature = self._draws(_Stream.NATURE, numbers, lambda random: random.random((8, 1))).transpose(1, 0, 2)
        beta, sigma, start = 0.6 + 0.8 * nature[0], _OWN_SIGMA * np.exp(nature[1] - 0.5), 20 + 100 * nature[2]
        ratio = np.select([nature[3] < 0.7, nature[3] < 0.9], [2.0, 3.0], 1.5)
        dividend_yield = np.where(nature[4] < 0.7, 0.002 + 0.01 * nature[4], 0.0)
        is_quoted_in_halts, shares = nature[5] < 0.5, 1e5 * np.exp(4 * nature[6])
        sectors = self._sectors[[number % len(SECTORS) for number in numbers]]
        returns = _DRIFT + beta * self._market + sectors + sigma * self._shocks(_Stream.OWN, numbers)
        value = np.log(start) + np.cumsum(returns, axis=1)  # log of an investment of one share

        split = _splits(np.concatenate([np.log(start), value[:, :-1]], axis=1), ratio)
        log_shares = np.cumsum(np.log(split), axis=1)
        due = (np.arange(size) + np.floor(_QUARTER * nature[7])) % _QUARTER == 0
        due &= (split == 1) & (dividend_yield > 0) & (np.arange(size) > 0)
        paid = np.cumsum(due, axis=1) * np.log1p(-dividend_yield)
        halted = _in_second_state(self._draws(_Stream.HALT, numbers, lambda random: random.random(size)), *_HALT)
        halted &= (split == 1) & ~due

        last_traded = np.maximum.accumulate(np.where(halted, 0, np.arange(size)), axis=1)
        close = np.take_along_axis(_cents(np.exp(value + paid - log_shares)), last_traded, axis=1)
        previous = np.concatenate([start, close[:, :-1]], axis=1)
        dividend = np.where(due, np.round(dividend_yield * previous, 4), 0.0)
        step = split / (1 - dividend / previous)

        gap, up, down, trades = self._draws(
            _Stream.TRADING, numbers, lambda random: random.standard_normal((size, 4))
        ).transpose(2, 0, 1)
        move = np.log(close * step / previous)
        width = 0.5 * sigma + 0.25 * np.abs(move)
        opening = np.where(halted, close, _cents(previous / step * np.exp(0.3 * move + 0.5 * width * gap)))
        high, low = np.maximum(opening, close), np.minimum(opening, close)
        volume = np.rint(shares * np.exp(log_shares + 0.35 * trades + 8 * np.abs(move)))
        return _Paths(
            opening,
            np.where(halted, high, _cents(high * np.exp(width * np.abs(up)))),
            np.where(halted, low, _cents(low * np.exp(-width * np.abs(down)))),
            close,
            np.round(close * np.cumprod(step, axis=1), 6),
            np.where(halted, 0.0, volume),
            dividend,
            split,
            ~halted | is_quoted_in_halts,
        )

    def _daily(self, numbers: Sequence[int]) -> pd.DataFrame:
        paths = self._paths(numbers)
        which, when = np.nonzero(paths.delivered)
        values = {column: getattr(paths, column)[which, when] for column in (*_PRICES, "volume", *ACTION_COLUMNS)}
        symbols = np.array([f"SYN{number:04}" for number in numbers], dtype=object)
        return _bars(symbols[which], "1d", self._schedule.index[when], values)

    def _intraday(self, number: int, interval: str, sessions: int) -> pd.DataFrame:
        paths = self._paths([number])
        is_recent = np.arange(len(self._schedule)) >= len(self._schedule) - sessions
        frames = [pd.DataFrame(columns=[*_PRICES, "volume"], index=self._schedule.index[:0], dtype="float64")]
        for at in np.flatnonzero(is_recent & (paths.volume[0] > 0)).tolist():
            day = {column: float(getattr(paths, column)[0, at]) for column in (*_PRICES, "volume")}
            opens, closes = self._schedule["open"].iloc[at], self._schedule["close"].iloc[at]
            ts = pd.date_range(opens, closes, freq=INTERVALS["1m"], inclusive="left")
            minutes = pd.DataFrame(_minutes(day, len(ts), self._random(_Stream.MINUTES, number, at)), index=ts)
            frames.append(minutes if interval == "1m" else _resampled(minutes, INTERVALS[interval], opens))
        values = pd.concat(frames)
        symbols = np.full(len(values), f"SYN{number:04}", dtype=object)
        columns = {column: values[column].to_numpy() for column in (*_PRICES, "volume")}
        return _bars(symbols, interval, values.index, columns)

    def _news(self, number: int) -> pd.DataFrame:
        symbol, paths = f"SYN{number:04}", self._paths([number])
        adjusted = paths.adj_close[0]
        returns = adjusted / np.concatenate([adjusted[:1], adjusted[:-1]]) - 1
        minute, kind, quiet = self._random(_Stream.NEWS, number).random((len(self._schedule), 3)).T
        published = self._schedule["close"] + pd.to_timedelta(5 + np.floor(115 * minute), unit="min")
        reasons = np.floor(kind * len(_QUIET)).astype(int)
        told = paths.delivered[0] & ((np.abs(returns) > _NEWS_FROM) | (quiet < _QUIET_NEWS))
        rows = []
        for at in np.flatnonzero(told).tolist():
            moved, reason = returns[at], reasons[at]
            if abs(moved) <= _NEWS_FROM:
                text = f"{symbol} {_QUIET[reason]}"
            elif moved > 0:
                text = f"{symbol} rises {moved:.1%} {_RISES[reason]}"
            else:
                text = f"{symbol} falls {-moved:.1%} {_FALLS[reason]}"
            rows.append((symbol, published.iloc[at], f"{symbol}-{self._schedule.index[at]:%Y-%m-%d}", text, None))
        frame = pd.DataFrame(rows, columns=["symbol", "ts", "id", "headline", "url"])
        return frame.astype({"ts": "datetime64[ns, UTC]"})


def _numbers(symbols: Sequence[str]) -> list[int]:
    return [int(symbol.removeprefix("SYN")) for symbol in symbols]


@cache
def _past_sessions() -> pd.DataFrame:
    """Past sessions of New York since 2000: index the date at 00:00 UTC; open and close as UTC times."""
    import exchange_calendars

    schedule = exchange_calendars.get_calendar("XNYS", start="2000-01-01").schedule[["open", "close"]]
    over = schedule["close"] < pd.Timestamp.now("UTC") - pd.Timedelta(hours=2)  # with its headlines
    return schedule[over].tz_localize("UTC").astype("datetime64[ns, UTC]")


def _in_second_state(uniform: np.ndarray, enter: float, leave: float) -> np.ndarray:
    """A Markov chain of two states that starts in the first.

    A draw below `enter` leads to the second state and one above 1 - `leave` to the first, whatever the state was
    before; any other keeps it. So the state is the one that was last led to, which needs no loop.
    """
    enters = uniform < enter
    leads = enters | (uniform > 1 - leave)
    enters[:, 0], leads[:, 0] = False, True
    last = np.maximum.accumulate(np.where(leads, np.arange(uniform.shape[1]), 0), axis=1)
    return np.take_along_axis(enters, last, axis=1)


def _splits(value_before: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """New shares per old one: as often as the value has passed the limits by another multiple of the ratio."""
    top, bottom = np.maximum.accumulate(value_before, axis=1), np.minimum.accumulate(value_before, axis=1)
    ups = np.ceil((top - np.log(_SPLIT_ABOVE)) / np.log(ratio)).clip(0)
    downs = np.ceil((np.log(_REVERSE_SPLIT_BELOW) - bottom) / np.log(10)).clip(0)
    ups, downs = np.diff(ups, axis=1, prepend=0), np.diff(downs, axis=1, prepend=0)
    split = np.ones_like(value_before)
    which, when = np.nonzero(ups + downs)
    split[which, when] = ratio[which, 0] ** ups[which, when] * 10.0 ** -downs[which, when]
    return split


def _cents(prices: np.ndarray) -> np.ndarray:
    return np.maximum(np.round(prices, 2), 0.01)


def _bars(symbols: np.ndarray, interval: str, ts: pd.Index, values: dict[str, np.ndarray]) -> pd.DataFrame:
    given = {"asset_class": "equity", "interval": interval, "currency": "USD"}
    constants = {column: np.full(len(ts), value, dtype=object) for column, value in given.items()}
    columns = [*BAR_COLUMNS, *(column for column in ACTION_COLUMNS if column in values)]
    return pd.DataFrame({"symbol": symbols, "ts": ts, **constants, **values}, copy=False)[columns]


def _minutes(day: dict[str, float], minutes: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    """A Brownian bridge from the day's open to its close, stretched so that it just touches high and low."""
    walk = np.concatenate([[0.0], np.cumsum(random.standard_normal(minutes))])
    bridge = walk - np.linspace(0, walk[-1], minutes + 1)
    path = np.linspace(day["open"], day["close"], minutes + 1) + bridge * day["open"] * 0.0005
    top, bottom = max(day["open"], day["close"]), min(day["open"], day["close"])
    highest, lowest = int(path.argmax()), int(path.argmin())
    above, below = max(path[highest] - top, 1e-12), max(bottom - path[lowest], 1e-12)
    path = np.where(path > top, top + (path - top) * (day["high"] - top) / above, path)
    path = np.where(path < bottom, bottom - (bottom - path) * (bottom - day["low"]) / below, path)
    path = np.round(path, 2)
    first, last = path[:-1], path[1:]
    high, low = np.maximum(first, last), np.minimum(first, last)
    high[min(highest, minutes - 1)], low[min(lowest, minutes - 1)] = day["high"], day["low"]
    smile = (1 + 3 * np.linspace(-1, 1, minutes) ** 2) * np.exp(0.5 * random.standard_normal(minutes))
    traded = np.rint(day["volume"] * np.cumsum(smile) / smile.sum())
    adjusted = last * day["adj_close"] / day["close"]
    volume = np.diff(traded, prepend=0)
    return {"open": first, "high": high, "low": low, "close": last, "adj_close": adjusted, "volume": volume}


def _resampled(minutes: pd.DataFrame, length: pd.Timedelta, origin: pd.Timestamp) -> pd.DataFrame:
    groups = minutes.resample(length, origin=origin)
    bars = groups.last().assign(open=groups["open"].first(), high=groups["high"].max(), low=groups["low"].min())
    return bars.assign(volume=groups["volume"].sum())


def ingest_synthetic(lake: Lake, settings: Synthetic) -> list[BatchResult]:
    """Ingest the market of the settings, some series a batch: daily bars, minutes and hours of the first, headlines."""
    source = SyntheticSource(settings)
    batches = [batch for bars in source.frames() for batch in ingest_delivery(lake, bars, source.name, source.origin)]
    for symbol in source.symbols[: settings.minute_symbols]:
        for interval in ("1h", "1m"):
            bars = source.intraday([symbol], interval, _INTRADAY_SESSIONS)
            batches.append(ingest(lake, bars, source.name, source.origin))
    if source.symbols:
        batches.append(ingest(lake, source.news(), source.name, source.origin, table="raw/news"))
    return batches
