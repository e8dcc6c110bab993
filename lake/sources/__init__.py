"""Sources of market data, one file a provider, found by name."""

from typing import TypeVar

from lake.settings import Settings
from lake.sources.alpha_vantage import AlphaVantageSource
from lake.sources.arch import ArchSource
from lake.sources.base import LiveBars, RowSource, Source
from lake.sources.bcrp import BcrpSource
from lake.sources.binance import BinanceSource
from lake.sources.bokeh import BokehSource
from lake.sources.edgar import EdgarSource
from lake.sources.fred import FredSource
from lake.sources.http import Patience
from lake.sources.nasdaq_data_link import NasdaqDataLinkSource
from lake.sources.news import NewsSource
from lake.sources.polygon import PolygonSource
from lake.sources.skfolio import SkfolioSource
from lake.sources.statsmodels import StatsmodelsSource
from lake.sources.yahoo import YahooSource

_T = TypeVar("_T")

EMBEDDED: dict[str, Source] = {source.name: source for source in (SkfolioSource(), BokehSource(), ArchSource())}
EMBEDDED_ROWS: dict[str, RowSource] = {source.name: source for source in (StatsmodelsSource(),)}

LIVE_BARS = {
    source.name: source
    for source in (YahooSource, AlphaVantageSource, PolygonSource, NasdaqDataLinkSource, BinanceSource)
}
LIVE_ROWS = {source.name: source for source in (FredSource, BcrpSource, EdgarSource, NewsSource)}


def live_bars(name: str, settings: Settings, patience: Patience | None = None) -> LiveBars:
    """The provider of bars of that name. Raises `KeyError`, which names those that there are."""
    return _found(LIVE_BARS, name)(settings, patience or Patience())


def live_rows(name: str, settings: Settings, patience: Patience | None = None) -> RowSource:
    """The provider of macro series, fundamentals or news of that name. Raises `KeyError` like `live_bars`."""
    return _found(LIVE_ROWS, name)(settings, patience or Patience())


def _found(sources: dict[str, _T], name: str) -> _T:
    if name not in sources:
        raise KeyError(f"no source is called {name!r}; there are {', '.join(sources)}")
    return sources[name]
