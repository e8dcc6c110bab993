"""Settings of the providers that are asked over the network: address, key, pace, and what to ask them for."""

from pydantic import BaseModel, Field, SecretStr


class Provider(BaseModel):
    """One provider; `LAKEHOUSE_POLYGON__KEY=...` sets the field `key` of `polygon`."""

    base_url: str = Field(description="Address of the API; another one for a proxy, a mirror or a test.")
    requests_per_minute: float = Field(gt=0, description="Pace that is not exceeded by one process.")
    key: SecretStr | None = Field(default=None, description="API key.")
    timeout: float = Field(default=30, gt=0, description="Seconds that one answer may take as a whole.")


class Table(Provider):
    """A provider with several tables of daily prices."""

    table: str = Field(description="The table to read (at Alpha Vantage: the function of its API).")


class Series(Provider):
    """A provider of macro series."""

    series: str = Field(description="Comma-separated codes of the series to load.")

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of `series`."""
        return tuple(code.strip() for code in self.series.split(",") if code.strip())


class BySymbol(Provider):
    """A provider of what belongs to a symbol: news, fundamentals."""

    symbols: str = Field(default="", description="Comma-separated symbols to ask for. Default: none.")

    @property
    def tickers(self) -> tuple[str, ...]:
        """The symbols of `symbols` in upper case."""
        return tuple(symbol.strip().upper() for symbol in self.symbols.split(",") if symbol.strip())


class Edgar(BySymbol):
    """The SEC asks every program to say who runs it."""

    contact: str = Field(default="", description="Name and e-mail address, sent as User-Agent.")
    tickers_url: str = Field(
        default="https://www.sec.gov/files/company_tickers.json", description="Where tickers are mapped to companies."
    )


class Synthetic(BaseModel):
    """The made-up market; `LAKEHOUSE_SYNTHETIC__SYMBOLS=50` switches it on."""

    symbols: int = Field(default=0, ge=0, le=9_999, description="Series, `SYN0001` and so on; 0 is off.")
    sessions: int = Field(default=5_000, gt=0, description="Sessions of history, counted from 2000-01-03.")
    seed: int = Field(default=0, ge=0, description="Another seed is another market.")
    minute_symbols: int = Field(default=0, ge=0, description="How many of the series have minute and hour bars too.")


def parse_sources(text: str) -> dict[str, tuple[str, ...]]:
    """Sources of each symbol in order of preference.

    Parameters
    ----------
    text : `AAPL, MSFT: yahoo, polygon; BTCUSDT: binance`.

    Raises
    ------
    ValueError : the text has another form, or names a symbol twice.
    """
    orders: dict[str, tuple[str, ...]] = {}
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        symbols, colon, sources = entry.partition(":")
        order = tuple(name.strip().lower() for name in sources.split(",") if name.strip())
        if not colon or not order:
            raise ValueError(f"{entry!r} is not of the form 'AAPL, MSFT: yahoo, polygon'")
        for symbol in (part.strip().upper() for part in symbols.split(",") if part.strip()):
            if symbol in orders:
                raise ValueError(f"{symbol} is named twice")
            orders[symbol] = tuple(dict.fromkeys(order))
    return orders
