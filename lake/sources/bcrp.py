"""Series of Peru's central bank (BCRP): policy rate, consumer prices, PEN per USD. No key, and no vintage dates."""

import re
from collections.abc import Sequence
from datetime import date

import pandas as pd

from lake.settings import Settings
from lake.sources.base import rows_frame
from lake.sources.fred import COLUMNS
from lake.sources.http import ChangedFormatError, Client, Patience

_MONTHS = {
    name: number
    for names in ("ene feb mar abr may jun jul ago set oct nov dic", "jan feb mar apr may jun jul aug sep oct nov dec")
    for number, name in enumerate(names.split(), 1)
}
_PERIOD = re.compile(
    r"(?:(?P<day>\d{1,2})[.\s-])?(?P<month>[A-Za-z]{3})[.\s-](?P<year>\d{2,4})"
    r"|[TQ](?P<quarter>[1-4])[.\s-](?P<quarter_year>\d{2,4})"
    r"|(?P<only_year>\d{4})"
)
_FIRST_YEAR = 1990


class BcrpSource:
    """Values by period. `released_at` stays null: BCRP does not tell when it published or revised a value."""

    name = "bcrp"
    origin = "bcrp series"
    table = "raw/macro"

    def __init__(self, settings: Settings, patience: Patience = Patience()) -> None:  # noqa: B008 (frozen)
        self.client = Client(self.name, settings.bcrp, patience)

    def fetch(self, names: Sequence[str], start: date | None, end: date | None) -> pd.DataFrame:
        """Rows of some series codes, whose last letter is their frequency (D, M, Q, A). Raises `SourceError`."""
        rows = []
        for series in names:
            first, last = start or date(_FIRST_YEAR, 1, 1), end or date.today()
            path = "/".join((series, "json", _bound(first, series), _bound(last, series), "esp"))
            periods = self.client.field(self.client.get_json(path, series), series, "periods")
            for period in periods:
                value = str(self.client.field(period, series, "values", 0)).strip()
                if value.lower() != "n.d.":  # no disponible
                    ts = self._ts(str(self.client.field(period, series, "name")), series)
                    rows.append({"series": series, "ts": ts, "value": value, "released_at": None})
        return rows_frame(rows, COLUMNS, ["value"])

    def _ts(self, period: str, series: str) -> pd.Timestamp:
        """First day of `02.Ene.13`, `Ene.2013`, `T1.13` or `2013`; a year of two digits lies within 1950 to 2049."""
        found = _PERIOD.fullmatch(period.strip())
        month = _MONTHS.get((found["month"] or "").lower()) if found else None
        if found is None or (found["month"] and month is None):
            raise ChangedFormatError(self.name, series, f"period {period!r} cannot be read")
        year = int(found["year"] or found["quarter_year"] or found["only_year"])
        if year < 100:
            year += 2000 if year < 50 else 1900
        quarter_start = 3 * int(found["quarter"]) - 2 if found["quarter"] else 1
        return pd.Timestamp(year, month or quarter_start, int(found["day"] or 1), tz="UTC")


def _bound(day: date, series: str) -> str:
    return f"{day.year}-{day.month}-{day.day}" if series.endswith("D") else f"{day.year}-{day.month}"
