"""How vendors write their files: what their columns are called, and what their file names say."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# The first name that a file has is taken.
_NAMES = {
    "ts": "ts datetime timestamp date time open_time trade_date trading_date session datum fecha data index_level_0",
    "symbol": "symbol ticker simbolo",
    "open": "open open_price eroffnung eroffnungskurs erster ouverture apertura abertura otwarcie",
    "high": "high high_price hoch tageshoch haut plus_haut maximo massimo najwyzszy",
    "low": "low low_price tief tagestief bas plus_bas minimo najnizszy",
    "close": "close close_price close_last last price px_last schluss schlusskurs letzter cloture dernier cierre "
    "ultimo chiusura fechamento zamkniecie",
    "adj_close": "adj_close adjusted_close adjclose close_adjusted",
    "volume": "volume vol stuck stucke stuecke volumen wolumen",
    "currency": "currency wahrung devise moneda",
    "asset_class": "asset_class",
    "interval": "interval per",
}
_CLOCK_BESIDE = {"date": "time", "datum": "uhrzeit", "fecha": "hora"}

_BINANCE_COLUMNS = _words(
    "open_time open high low close volume close_time quote_volume count taker_buy_volume taker_buy_quote_volume ignore"
)
_METATRADER_4_COLUMNS = ("date", "time", "open", "high", "low", "close", "volume")

# Any other word is taken as it is, in lower case.
_INTERVALS = {
    **dict.fromkeys(("D", "d", "D1", "daily", "Daily", "1day", "1440"), "1d"),
    **dict.fromkeys(("H1", "60", "60min", "1hour"), "1h"),
    **dict.fromkeys(("M1", "1", "1min"), "1m"),
    **dict.fromkeys(("W", "W1", "weekly", "Weekly", "10080", "w"), "1w"),
    **dict.fromkeys(("M", "1M", "MN", "MN1", "monthly", "Monthly", "43200", "m"), "1mo"),
}

_QUOTES = _words("USDT USDC FDUSD BUSD TUSD BTC ETH BNB EUR TRY BRL USD")
_CURRENCIES = _words("USD EUR JPY GBP CHF AUD NZD CAD SEK NOK DKK PLN CZK HUF TRY ZAR MXN BRL PEN CNH SGD HKD")


@dataclass(frozen=True)
class Format:
    """What is known of a vendor's files.

    Attributes
    ----------
    header : names (plain) that the columns of such a file have, all of them.
    filename : pattern of the file's stem with the group `symbol` and maybe `interval` and `country`; where it does not
        match, the stem is the symbol.
    nameless : pattern of stems that do not name the symbol.
    dates, decimal : order of dates and decimal sign that the vendor always uses; "" where they vary.
    timezone : of intraday stamps, which name none; "" where the files do not tell.
    by_name : whether the file's name must match too, since many others have such columns.
    """

    name: str
    header: frozenset[str] = frozenset()
    filename: str = ""
    nameless: str = ""
    dates: str = ""
    decimal: str = ""
    timezone: str = "UTC"
    by_name: bool = False


def _header(names: str) -> frozenset[str]:
    return frozenset(_words(names))


FORMATS = (
    Format(
        "binance",
        _header("open_time open high low close volume close_time"),
        filename=r"(?P<symbol>[A-Z0-9]+)-(?P<interval>\d+(?:s|m|h|d|w|mo))-\d{4}-\d{2}(?:-\d{2})?",
    ),
    Format(
        "metatrader",
        _header("date open high low close tickvol"),
        filename=r"(?P<symbol>.+?)_(?P<interval>M\d+|H\d+|D1|W1|MN1?|Daily|Weekly|Monthly)(?:_\d{12}_\d{12})?",
        timezone="",
    ),
    Format(
        "investing",
        _header("date price open high low vol change"),
        filename=r"(?P<symbol>.+?) (?:Historical Data|Stock Price History)",
        decimal=".",
    ),
    Format("nasdaq", _header("date close_last volume open high low"), nameless=r"HistoricalData_\d+", dates="MDY"),
    Format(
        "alpha vantage",
        _header("timestamp open high low close volume"),
        filename=r"(?:intraday_)?(?P<interval>daily|weekly|monthly|\d+min)_(?:adjusted_)?(?P<symbol>.+)",
        timezone="America/New_York",
        by_name=True,
    ),
    Format("stooq", _header("ticker per date time open high low close vol openint"), timezone=""),
    Format(
        "stooq",
        _header("date open high low close volume"),
        filename=r"(?P<symbol>\^?[a-z0-9.-]+?)(?:_(?P<country>[a-z]{2}))?_(?P<interval>[dwm])",
        by_name=True,
    ),
    Format("yahoo", _header("date open high low close adj_close volume")),
    Format("yahoo", _header("open high low close volume dividends stock_splits")),
)
_METATRADER_4 = Format(
    "metatrader 4",
    filename=r"(?P<symbol>.*[A-Za-z.#])(?P<interval>1|5|15|30|60|240|1440|10080|43200)",
    timezone="",
)
_PLAIN = Format("plain")


@dataclass(frozen=True)
class Named:
    """What a file's name says; "" where it says nothing."""

    symbol: str
    interval: str
    asset_class: str
    currency: str


def plain(name: str) -> str:
    """A column name without case, accents, brackets and punctuation: `<Clôture (EUR)>` is cloture_eur."""
    decomposed = unicodedata.normalize("NFKD", name).casefold()
    return re.sub(r"[\W_]+", "_", "".join(c for c in decomposed if not unicodedata.combining(c))).strip("_")


def headerless(first_row: Sequence[str]) -> tuple[str, ...]:
    """Column names of files that vendors write without them, told by the first row; () for any other file."""
    if len(first_row) == len(_BINANCE_COLUMNS) and all(re.fullmatch(r"\d{13}|\d{16}", first_row[i]) for i in (0, 6)):
        return _BINANCE_COLUMNS
    if len(first_row) == len(_METATRADER_4_COLUMNS) and re.fullmatch(r"\d{4}\.\d{2}\.\d{2}", first_row[0]):
        return _METATRADER_4_COLUMNS
    return ()


def recognise(header: Iterable[str], stem: str) -> Format:
    """The format of a file by its column names; `plain` when it is nobody's."""
    names = [plain(name) for name in header]
    if tuple(names) == _METATRADER_4_COLUMNS and re.fullmatch(_METATRADER_4.filename, stem):
        return _METATRADER_4
    for known in FORMATS:
        if known.header <= set(names) and (not known.by_name or re.fullmatch(known.filename, stem)):
            return known
    return _PLAIN


def columns_of(header: Iterable[str]) -> dict[str, str]:
    """Our field to the name of the file's column, for every field that has one; `time` is the clock beside a date."""
    theirs: dict[str, str] = {}
    for name in header:
        theirs.setdefault(plain(name), name)
    found = {ours: next((name for name in _words(names) if name in theirs), "") for ours, names in _NAMES.items()}
    found["time"] = _CLOCK_BESIDE.get(found["ts"], "")
    return {ours: theirs[name] for ours, name in found.items() if name and name in theirs}


def named(stem: str, known: Format) -> Named:
    """What a file's name says about its rows. The country of a Stooq file stays in the symbol, but for the US."""
    stem = re.sub(r" ?\(\d+\)$", "", stem).strip()  # a browser's second download
    if known.nameless and re.fullmatch(known.nameless, stem):
        return Named("", "", "", "")
    match = re.fullmatch(known.filename, stem) if known.filename else None
    parts = match.groupdict() if match else {"symbol": stem}
    country = parts.get("country") or "us"
    symbol = upper(parts["symbol"] if country == "us" else f"{parts['symbol']}.{country}")
    if known.name == "binance":
        quote = next((quote for quote in _QUOTES if symbol.endswith(quote) and symbol != quote), "")
        return Named(symbol, interval_of(parts.get("interval") or ""), "crypto", quote)
    pair = len(symbol) == 6 and symbol[:3] in _CURRENCIES and symbol[3:] in _CURRENCIES
    return Named(symbol, interval_of(parts.get("interval") or ""), *(("fx", symbol[3:]) if pair else ("", "")))


def upper(symbol: str) -> str:
    """A symbol in upper case. Other alphabets stay as they are: the capital of the Turkish dotless i is a Latin I."""
    return symbol.upper() if symbol.isascii() else symbol


def interval_of(word: str) -> str:
    """Our name of a vendor's interval."""
    return _INTERVALS.get(word, word.lower())
