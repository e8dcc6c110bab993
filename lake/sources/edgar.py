"""Fundamentals from the SEC's EDGAR company facts, each with the day on which it was filed."""

from collections.abc import Sequence
from datetime import date
from typing import Any

import pandas as pd

from lake.settings import Settings
from lake.sources.base import rows_frame
from lake.sources.http import AccessError, Client, Patience, UnknownSymbolError

COLUMNS = (
    *("symbol", "concept", "unit", "period_start", "ts", "value"),
    *("fiscal_year", "fiscal_period", "form", "accession", "released_at"),
)
_FIELDS = {"end": "ts", "val": "value", "accn": "accession", "form": "form", "filed": "released_at"}


class EdgarSource:
    """Every fact of every filing of a company; the same period filed again is another row."""

    name = "edgar"
    origin = "edgar company facts"
    table = "raw/fundamentals"

    def __init__(self, settings: Settings, patience: Patience = Patience()) -> None:  # noqa: B008 (frozen)
        self._contact = settings.edgar.contact
        self._tickers_url = settings.edgar.tickers_url
        self.client = Client(self.name, settings.edgar, patience, headers={"User-Agent": self._contact})
        self._companies: dict[str, int] | None = None

    def fetch(self, names: Sequence[str], start: date | None, end: date | None) -> pd.DataFrame:
        """Facts of some tickers; `start` and `end` bound the filing date. Raises `SourceError`."""
        rows = [row for symbol in names for row in self._facts(symbol)]
        frame = rows_frame(rows, COLUMNS, ["value", "fiscal_year"]).astype({"fiscal_year": "Int32"})
        filed = frame["released_at"]
        keep = filed.notna()
        if start is not None:
            keep &= filed >= pd.Timestamp(start, tz="UTC")
        if end is not None:
            keep &= filed <= pd.Timestamp(end, tz="UTC")
        return frame[keep].reset_index(drop=True)

    def _facts(self, symbol: str) -> list[dict[str, Any]]:
        document = self.client.get_json(f"api/xbrl/companyfacts/CIK{self._company(symbol):010d}.json", symbol)
        rows = []
        for taxonomy, concepts in self.client.field(document, symbol, "facts").items():
            for concept, about in concepts.items():
                for unit, facts in self.client.field(about, symbol, "units").items():
                    for fact in facts:
                        row = {ours: self.client.field(fact, symbol, theirs) for theirs, ours in _FIELDS.items()}
                        row |= {"symbol": symbol, "concept": f"{taxonomy}/{concept}", "unit": unit}
                        row |= {"period_start": fact.get("start"), "fiscal_year": fact.get("fy")}
                        rows.append(row | {"fiscal_period": fact.get("fp")})
        return rows

    def _company(self, symbol: str) -> int:
        if "@" not in self._contact:
            what = "the SEC wants to know who asks; set LAKEHOUSE_EDGAR__CONTACT to a name and an e-mail address"
            raise AccessError(self.name, symbol, what)
        if self._companies is None:
            listed = self.client.get_json(self._tickers_url, symbol).values()
            self._companies = {
                self.client.field(it, symbol, "ticker"): self.client.field(it, symbol, "cik_str") for it in listed
            }
        company = self._companies.get(symbol.replace(".", "-"))
        if company is None:
            raise UnknownSymbolError(self.name, symbol, "no company has this ticker")
        return company
