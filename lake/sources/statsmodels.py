"""US macro data that ship in the package statsmodels (BSD-3; the data are public domain): 1959 to 2009, by quarter."""

from collections.abc import Sequence
from datetime import date

import pandas as pd

from lake.sources.base import rows_frame
from lake.sources.fred import COLUMNS

# By FRED's codes: the column, and which month of the quarter a value is of (prices are those of its last month).
_SERIES = {"GDPC1": ("realgdp", 0), "CPIAUCSL": ("cpi", 2), "TB3MS": ("tbilrate", 0)}


class StatsmodelsSource:
    """Values by period, as they stood in December 2009. `released_at` stays null: the package has no vintages."""

    name = "statsmodels"
    origin = "statsmodels.datasets.macrodata"
    table = "raw/macro"

    def fetch(self, names: Sequence[str], start: date | None, end: date | None) -> pd.DataFrame:
        """Rows of some series codes (empty: all) as `lake.sources.base.RowSource` describes them."""
        from statsmodels.datasets import macrodata

        data = macrodata.load_pandas().data.astype({"year": int, "quarter": int})
        rows = [
            {"series": series, "ts": ts, "value": value, "released_at": None}
            for series in names or _SERIES
            for column, month in [_SERIES[series]]
            for year, quarter, value in data[["year", "quarter", column]].itertuples(index=False)
            for ts in [pd.Timestamp(int(year), 3 * int(quarter) - 2 + month, 1, tz="UTC")]
            if (start is None or ts.date() >= start) and (end is None or ts.date() <= end)
        ]
        return rows_frame(rows, COLUMNS, ["value"])
