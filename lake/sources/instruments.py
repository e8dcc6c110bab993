"""The 32 embedded series and the preferred source of each: the longest one."""

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

INSTRUMENTS: tuple[Instrument, ...] = (
    *(Instrument(symbol, name, "equity", "USD", "XNYS", "skfolio") for symbol, name in _STOCKS.items()),
    *(Instrument(symbol, name, "equity", "USD", "XNYS", "bokeh") for symbol, name in _ENDED_STOCKS.items()),
    *(Instrument(symbol, name, "etf", "USD", "XNYS", "skfolio") for symbol, name in _ETFS.items()),
    Instrument("SP500", "S&P 500", "index", "USD", "XNYS", "skfolio"),
    Instrument("NASDAQ", "NASDAQ Composite", "index", "USD", "XNYS", "arch"),
    Instrument("WTI", "West Texas Intermediate crude oil", "commodity", "USD", "XNYS", "arch"),
    Instrument("VIX", "CBOE volatility index", "volatility", "PCT", "XNYS", "arch"),
)
