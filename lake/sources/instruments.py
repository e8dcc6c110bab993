"""The 32 embedded series and the preferred source of each: the longest one."""

from datetime import UTC, datetime

from lake.sources.base import Instrument

_STOCKS = {
    "AAPL": ("Apple", "information_technology"),
    "AMD": ("Advanced Micro Devices", "information_technology"),
    "BAC": ("Bank of America", "financials"),
    "BBY": ("Best Buy", "consumer_discretionary"),
    "CVX": ("Chevron", "energy"),
    "GE": ("General Electric", "industrials"),
    "HD": ("Home Depot", "consumer_discretionary"),
    "JNJ": ("Johnson & Johnson", "health_care"),
    "JPM": ("JPMorgan Chase", "financials"),
    "KO": ("Coca-Cola", "consumer_staples"),
    "LLY": ("Eli Lilly", "health_care"),
    "MRK": ("Merck", "health_care"),
    "MSFT": ("Microsoft", "information_technology"),
    "PEP": ("PepsiCo", "consumer_staples"),
    "PFE": ("Pfizer", "health_care"),
    "PG": ("Procter & Gamble", "consumer_staples"),
    "RRC": ("Range Resources", "energy"),
    "UNH": ("UnitedHealth", "health_care"),
    "WMT": ("Walmart", "consumer_staples"),
    "XOM": ("Exxon Mobil", "energy"),
}
_ENDED_STOCKS = {
    "FB": ("Facebook", "communication_services"),
    "GOOG": ("Google", "communication_services"),
    "IBM": ("IBM", "information_technology"),
}
_ETFS = {
    "MTUM": "iShares MSCI USA Momentum Factor",
    "QUAL": "iShares MSCI USA Quality Factor",
    "SIZE": "iShares MSCI USA Size Factor",
    "USMV": "iShares MSCI USA Min Vol Factor",
    "VLUE": "iShares MSCI USA Value Factor",
}

# What ships in a package ends with it.
_SKFOLIO, _BOKEH, _ARCH = (datetime(*day, tzinfo=UTC) for day in ((2022, 12, 28), (2013, 3, 1), (2018, 12, 31)))

# Oil has no exchange of its own here: on its 8,321 days, the holidays of Cboe's futures exchange leave 55 exceptions,
# those of New York 59, and those of CME 197, whose screens trade on holidays on which no spot price is made.
INSTRUMENTS: tuple[Instrument, ...] = (
    *(
        Instrument(symbol, name, "equity", "USD", "XNYS", source, ends_at=ends_at, sector=sector)
        for stocks, source, ends_at in ((_STOCKS, "skfolio", _SKFOLIO), (_ENDED_STOCKS, "bokeh", _BOKEH))
        for symbol, (name, sector) in stocks.items()
    ),
    *(Instrument(s, name, "etf", "USD", "XNYS", "skfolio", ends_at=_SKFOLIO) for s, name in _ETFS.items()),
    Instrument("SP500", "S&P 500", "index", "USD", "XNYS", "skfolio", ends_at=_SKFOLIO),
    Instrument("NASDAQ", "NASDAQ Composite", "index", "USD", "XNYS", "arch", ends_at=_ARCH),
    Instrument("WTI", "West Texas Intermediate crude oil", "commodity", "USD", "XCBF", "arch", ends_at=_ARCH),
    Instrument("VIX", "CBOE volatility index", "volatility", "PCT", "XCBF", "arch", ends_at=_ARCH),
)
