"""US macro series from FRED with every vintage, so that each value is dated by the day on which it was published."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import pandas as pd

from lake.settings import Settings
from lake.sources.base import rows_frame
from lake.sources.http import Client, Patience, SourceError, UnknownSymbolError

COLUMNS = ("series", "ts", "value", "released_at")
_PAGE = 100_000
_FIRST, _LAST = date(1776, 7, 4), date(9999, 12, 31)  # what FRED calls the whole of real time
_FIRST_VINTAGES = date(1927, 1, 1)


class FredSource:
    """Values by period (`ts` is its first day) and vintage (`released_at`); a revision is a later vintage."""

    name = "fred"
    origin = "fred observations"
    table = "raw/macro"

    def __init__(self, settings: Settings, patience: Patience = Patience()) -> None:  # noqa: B008 (frozen)
        self.client = Client(self.name, settings.fred, patience, key_parameter="api_key")

    def fetch(self, names: Sequence[str], start: date | None, end: date | None) -> pd.DataFrame:
        """Rows of some series codes; `start` and `end` bound the periods. Raises `SourceError`."""
        rows = [row for name in names for row in self._vintages(name, start, end, _FIRST, _LAST)]
        frame = rows_frame(rows, COLUMNS, ["value"]).sort_values(["series", "ts", "released_at"], kind="stable")
        # Where the vintages were asked for in parts, a value that stood at a seam comes twice.
        repeated = frame["value"].eq(frame.groupby(["series", "ts"])["value"].shift())
        return frame[~repeated].reset_index(drop=True)

    def _vintages(
        self, series: str, start: date | None, end: date | None, since: date, until: date
    ) -> list[dict[str, Any]]:
        query = {"series_id": series, "file_type": "json", "limit": _PAGE, "realtime_start": since}
        query |= {"realtime_end": until, "observation_start": start, "observation_end": end}
        try:
            return self._pages(series, query)
        except SourceError as error:
            if "maximum number of vintage dates" not in error.what:
                raise
        low, high = max(since, _FIRST_VINTAGES), min(until, date.today())
        middle = low + (high - low) / 2
        parts = []
        for window in ((since, middle), (middle + timedelta(days=1), until)):
            try:
                parts += self._vintages(series, start, end, *window)
            except UnknownSymbolError as error:
                if "ALFRED" not in error.what:  # else: the series had no vintages yet
                    raise
        return parts

    def _pages(self, series: str, query: dict[str, Any]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        received, count = 0, 1
        while received < count:
            page = self.client.get_json("series/observations", series, query | {"offset": received})
            observations = self.client.field(page, series, "observations")
            count = self.client.field(page, series, "count") if observations else received
            received += len(observations)
            rows += [
                {"series": series, "ts": ts, "value": value, "released_at": released}
                for ts, value, released in (
                    [self.client.field(it, series, name) for name in ("date", "value", "realtime_start")]
                    for it in observations
                )
                if value != "."  # FRED's sign for a missing value
            ]
        return rows
