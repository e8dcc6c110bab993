"""Headlines about a symbol from an RSS 2.0 or JSON Feed address."""

from collections.abc import Sequence
from datetime import date
from functools import partial
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import pandas as pd

from lake.settings import Settings
from lake.sources.base import rows_frame
from lake.sources.http import ChangedFormatError, Client, MalformedError, Patience, Reply

COLUMNS = ("symbol", "ts", "id", "headline", "url")
_JSON = {"ts": "date_published", "id": "id", "headline": "title", "url": "url"}
_RSS = {"ts": "pubDate", "id": "guid", "headline": "title", "url": "link"}


class NewsSource:
    """The items that a feed holds now; `ts` is when it says that they were published."""

    name = "news"
    origin = "news feed"
    table = "raw/news"

    def __init__(self, settings: Settings, patience: Patience = Patience()) -> None:  # noqa: B008 (frozen)
        self.client = Client(self.name, settings.news, patience)

    def fetch(self, names: Sequence[str], start: date | None, end: date | None) -> pd.DataFrame:
        """Items about some symbols, published from `start` to `end`. Raises `SourceError`."""
        rows = []
        for symbol in names:
            send = partial(self.client.send, self.client.base_url.replace("{symbol}", quote(symbol)), symbol)
            rows += [{"symbol": symbol, **item} for item in self.client.ask(symbol, send, self._items)]
        frame = rows_frame(rows, COLUMNS).drop_duplicates(["symbol", "id"])
        keep = pd.Series(True, index=frame.index)
        if start is not None:
            keep &= frame["ts"] >= pd.Timestamp(start, tz="UTC")
        if end is not None:
            keep &= frame["ts"] < pd.Timestamp(end, tz="UTC") + pd.Timedelta(days=1)
        return frame[keep].reset_index(drop=True)

    def _items(self, reply: Reply, symbol: str) -> list[dict[str, Any]]:
        if reply.body.lstrip().startswith(b"{"):
            items = self.client.field(self.client.json_of(reply, symbol), symbol, "items")
            found = [{ours: item.get(theirs) for ours, theirs in _JSON.items()} for item in items]
        else:
            found = [{ours: item.findtext(tag) for ours, tag in _RSS.items()} for item in self._rss(reply, symbol)]
        for item in found:
            if not item["headline"] or not item["ts"]:
                raise ChangedFormatError(self.name, symbol, f"an item has no headline or time; found {item}")
            item["ts"] = pd.to_datetime(item["ts"], utc=True, errors="coerce")
            item["id"] = item["id"] or item["url"] or item["headline"]
        return found

    def _rss(self, reply: Reply, symbol: str) -> list[ElementTree.Element]:
        # A feed needs no document type; one that brings it is an HTML page or a bomb of entities.
        if b"<!doctype" in reply.body.lower() or b"<html" in reply.body[:200].lower():
            raise MalformedError(self.name, symbol, "answered with an HTML page instead of a feed")
        try:
            root = ElementTree.fromstring(reply.body)
        except ElementTree.ParseError as error:
            raise MalformedError(self.name, symbol, f"answered with broken XML of {len(reply.body)} bytes") from error
        channel = root.find("channel")
        if channel is None:
            raise ChangedFormatError(self.name, symbol, f"'channel' is missing; found <{root.tag}>")
        return channel.findall("item")
