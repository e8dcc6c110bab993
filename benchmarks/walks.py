"""Random walks as bars of a lake: any number of symbols on the sessions of New York, without a gap."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.store import Lake

INDEX = "SP500"
_SYMBOLS_A_BATCH = 250
_PRICES = ("open", "high", "low", "close", "adj_close")


def write_walks(lake: Lake, symbols: int, sessions: int) -> int:
    """Write daily bars as delivered, some series a commit; returns how many there are."""
    rows = 0
    for bars in _walks(symbols, sessions):
        lake.append("raw/bars", bars)
        rows += bars.num_rows
    return rows


def write_next_session(lake: Lake) -> int:
    """Write one more session of every series, each a little off its newest bar; returns how many bars that is."""
    days = _sessions()
    newest = pc.max(lake.read("raw/bars", ["ts"], pc.field("symbol") == INDEX)["ts"]).as_py()
    day = days[np.searchsorted(days, np.datetime64(newest.replace(tzinfo=None))) + 1]
    bars = lake.read("raw/bars", filters=(pc.field("year") == newest.year) & (pc.field("ts") == newest))
    moves = np.exp(np.random.default_rng(0).normal(0, 0.02, bars.num_rows))
    columns = {name: bars[name] for name in bars.column_names}
    columns |= {name: pc.multiply(bars[name], pa.array(moves)) for name in _PRICES}
    columns |= _stamps(np.repeat(day, bars.num_rows))
    lake.append("raw/bars", pa.table(columns))
    return int(bars.num_rows)


def _walks(symbols: int, sessions: int) -> Iterator[pa.Table]:
    random, days = np.random.default_rng(0), _sessions()[:sessions]
    names = [INDEX, *(f"S{number:05}" for number in range(1, symbols))]
    for first in range(0, symbols, _SYMBOLS_A_BATCH):
        some = names[first : first + _SYMBOLS_A_BATCH]
        gaps, moves, up, down, trades = random.standard_normal((5, len(some), len(days)))
        close = 50 * np.exp(np.cumsum(0.012 * moves + 0.004 * gaps, axis=1))
        opening = close * np.exp(-0.012 * moves)
        bars = {
            "open": opening,
            "high": np.maximum(opening, close) * np.exp(0.005 * np.abs(up)),
            "low": np.minimum(opening, close) * np.exp(-0.005 * np.abs(down)),
            "close": close,
            "adj_close": close,
            "volume": np.rint(1e6 * np.exp(0.4 * trades)),
        }
        same = {"asset_class": "equity", "interval": "1d", "currency": "USD", "source": "file"}
        columns = {
            "symbol": np.repeat(np.array(some, dtype=object), len(days)),
            **{name: np.full(close.size, value, dtype=object) for name, value in same.items()},
            **{name: values.ravel() for name, values in bars.items()},
            **_stamps(np.tile(days, len(some))),
        }
        yield pa.table(columns)


def _stamps(ts: np.ndarray) -> dict[str, pa.Array]:
    """When the bars of a batch happened, and when they came."""
    return {
        "ts": pa.array(ts).cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC")),
        "year": pa.array(ts.astype("M8[Y]").astype(np.int32) + 1970),
        "batch_id": pa.array([str(uuid.uuid4())] * len(ts)),
        "ingested_at": pa.array([datetime.now(UTC)] * len(ts), pa.timestamp("us", "UTC")),
    }


def _sessions() -> np.ndarray:
    import exchange_calendars

    days: np.ndarray = exchange_calendars.get_calendar("XNYS", start="2000-01-03").sessions.to_numpy("M8[us]")
    return days
