"""The 32 embedded series and the preferred source of each: the longest one."""

from datetime import UTC, datetime

from lake.sources.base import Instrument

_STOCKS = {
    "AAPL": "Apple",
    "AMD": "Advanced Micro Devices",
    "BAC": "Bank of America",
    "BBY": "Best Buy",
    "CVX": "Chevron",
    "GE": "General Electric",
    "HD": "Home Depot",
    "JNJ": "Johnson & Johnson",
    "JPM": "JPMorgan Chase",
    "KO": "Coca-Cola",
    "LLY": "Eli Lilly",
    "MRK": "Merck",
    "MSFT": "Microsoft",
    "PEP": "PepsiCo",
    "PFE": "Pfizer",
    "PG": "Procter & Gamble",
    "RRC": "Range Resources",
    "UNH": "UnitedHealth",
    "WMT": "Walmart",
    "XOM": "Exxon Mobil",
}
_ENDED_STOCKS = {"FB": "Facebook", "GOOG": "Google", "IBM": "IBM"}
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
    *(Instrument(s, name, "equity", "USD", "XNYS", "skfolio", ends_at=_SKFOLIO) for s, name in _STOCKS.items()),
    *(Instrument(s, name, "equity", "USD", "XNYS", "bokeh", ends_at=_BOKEH) for s, name in _ENDED_STOCKS.items()),
    *(Instrument(s, name, "etf", "USD", "XNYS", "skfolio", ends_at=_SKFOLIO) for s, name in _ETFS.items()),
    Instrument("SP500", "S&P 500", "index", "USD", "XNYS", "skfolio", ends_at=_SKFOLIO),
    Instrument("NASDAQ", "NASDAQ Composite", "index", "USD", "XNYS", "arch", ends_at=_ARCH),
    Instrument("WTI", "West Texas Intermediate crude oil", "commodity", "USD", "XCBF", "arch", ends_at=_ARCH),
    Instrument("VIX", "CBOE volatility index", "volatility", "PCT", "XCBF", "arch", ends_at=_ARCH),
)
