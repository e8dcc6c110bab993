"""The newest stored features of a symbol; they are read from the lake and never computed here."""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from lake.settings import Settings
from serving.tables import LakeTable, quoted

TABLE = "market/features"
_LOOK_SECONDS = 1.0
_KEPT = 1024
# A window may end before the newest sessions where these lack a feature.
_SPARE_SESSIONS = 20


@dataclass(frozen=True)
class Stored:
    """The newest window without a gap, float32 [lookback, columns].

    Attributes
    ----------
    as_of : its last session.
    """

    window: NDArray[np.float32]
    as_of: datetime
    last_price: float


class StoredFeatures:
    """Windows of `market/features`, kept while the table does not change. Blocks, so call it from a thread."""

    def __init__(self, settings: Settings) -> None:
        self._table = LakeTable(TABLE, settings)
        self._lock = threading.Lock()
        self._looked_at = float("-inf")
        self._version = ("", -1)
        self._kept: OrderedDict[tuple[object, ...], Stored | None] = OrderedDict()

    def newest(self, symbols: Iterable[str], columns: Sequence[str], lookback: int) -> tuple[int, dict[str, Stored]]:
        """Version of the table, and the newest window of each symbol that has one in it.

        Raises whatever delta-rs raises.
        """
        with self._lock:
            if time.monotonic() - self._looked_at > _LOOK_SECONDS:
                self._version = self._table.refresh()
                self._looked_at = time.monotonic()
            found = {}
            for symbol in symbols:
                key = (self._version, symbol, tuple(columns), lookback)
                if key not in self._kept:
                    self._kept[key] = self._read(symbol, columns, lookback)
                if (window := self._kept[key]) is not None:
                    found[symbol] = window
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return self._version[1], found

    def _read(self, symbol: str, columns: Sequence[str], lookback: int) -> Stored | None:
        names = ", ".join(f'"{name}"' for name in dict.fromkeys(("ts", "last_price", *columns)))
        rows = list(
            self._table.rows(
                f"SELECT {names} FROM t WHERE symbol = {quoted(symbol)} AND \"interval\" = '1d' "
                f"ORDER BY ts DESC LIMIT {lookback + _SPARE_SESSIONS}"
            )
        )[::-1]
        values = np.array([[row[name] for name in columns] for row in rows], np.float32)
        for end in range(len(rows), lookback - 1, -1):
            window = values[end - lookback : end]
            if np.isfinite(window).all():
                newest = rows[end - 1]
                return Stored(window, newest["ts"], newest["last_price"])
        return None
