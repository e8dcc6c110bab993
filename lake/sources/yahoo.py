"""Bars from Yahoo Finance through yfinance, whose session we lend it: it asks at our pace and fails with our errors."""

import logging
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlsplit

import pandas as pd

from lake.settings import Settings
from lake.sources.base import LiveBars
from lake.sources.http import ChangedFormatError, Client, Patience, Reply, TooLargeError, UnavailableError

CALENDARS = {
    **{".AS": "XAMS", ".AX": "XASX", ".BR": "XBRU", ".CO": "XCSE", ".DE": "XETR", ".F": "XFRA", ".HE": "XHEL"},
    **{".HK": "XHKG", ".KS": "XKRX", ".L": "XLON", ".LM": "XLIM", ".LS": "XLIS", ".MC": "XMAD", ".MI": "XMIL"},
    **{".MX": "XMEX", ".NS": "XBOM", ".OL": "XOSL", ".PA": "XPAR", ".SA": "BVMF", ".SI": "XSES", ".SN": "XSGO"},
    **{".SS": "XSHG", ".ST": "XSTO", ".SW": "XSWX", ".T": "XTKS", ".TO": "XTSE", ".TW": "XTAI", ".VI": "XWBO"},
    **{"=F": "CMES", "=X": "24/5", "-USD": "24/7", "-EUR": "24/7"},
}
"""Exchange calendars by the end of a symbol, as Yahoo writes it; any other is New York's."""

_ALIASES = {"SP500": "^GSPC", "NASDAQ": "^IXIC", "VIX": "^VIX", "WTI": "CL=F"}
_CLASSES = {"EQUITY": "equity", "ETF": "etf", "INDEX": "index", "CRYPTOCURRENCY": "crypto", "FUTURE": "commodity"}
_COLUMNS = {
    "Open": "open",
    "High": "high",
    "Low": "low",
    "Close": "close",
    "Adj Close": "adj_close",
    "Volume": "volume",
    "Dividends": "dividend",
    "Stock Splits": "split",
}
_HISTORY = {"1d": timedelta(days=365 * 60), "1h": timedelta(days=729), "1m": timedelta(days=7)}


class YahooSource(LiveBars):
    """Bars and dividends adjusted for splits by Yahoo, with `adj_close` adjusted for dividends too.

    yfinance has no setting for Yahoo's address, but takes a session: ours sends what goes to Yahoo to `base_url`.
    """

    name = "yahoo"
    origin = "yahoo chart"
    intervals = ("1d", "1h", "1m")

    def __init__(self, settings: Settings, patience: Patience = Patience()) -> None:  # noqa: B008 (frozen)
        super().__init__(Client(self.name, settings.yahoo, patience))
        self._cache = settings.home / "yfinance"
        self._session: Any = None

    def calendar_of(self, symbol: str) -> str:
        """That of the symbol's suffix: VOD.L trades in London, BTC-USD always."""
        return next((calendar for suffix, calendar in CALENDARS.items() if symbol.endswith(suffix)), self.calendar)

    def series(self, symbol: str, start: date | None, end: date | None, interval: str) -> pd.DataFrame:
        """Bars from `start` (default: as far back as Yahoo has that interval)."""
        import yfinance
        from yfinance.data import YfData
        from yfinance.exceptions import YFPricesMissingError

        if self._session is None:
            yfinance.set_tz_cache_location(str(self._cache))  # else below the user's home
            yfinance.config.debug.hide_exceptions = False
            logging.getLogger("yfinance").setLevel(logging.CRITICAL)  # what it logs it also raises
            self._session = _session(self.client)
        YfData.cache_get.cache_clear()  # a correction of the past would stay unseen for as long as the process lives
        self._session.symbol = symbol
        first = start or date.today() - _HISTORY[interval]
        ticker = yfinance.Ticker(_ALIASES.get(symbol, symbol), session=self._session)
        try:
            bars = ticker.history(
                start=str(first),
                end=str((end or date.today()) + timedelta(days=1)),
                interval=interval,
                auto_adjust=False,
                timeout=self.client.provider.timeout,
            )
            about = ticker.history_metadata
            bars, index = bars[list(_COLUMNS)].rename(columns=_COLUMNS), bars.index
            kind, currency = about["instrumentType"], about["currency"]
        except YFPricesMissingError:
            return pd.DataFrame({"ts": []})
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise ChangedFormatError(
                self.name, symbol, f"yfinance cannot read the answer ({type(error).__name__}: {error})"
            ) from error
        ts = index.tz_localize(None).normalize().tz_localize("UTC") if interval == "1d" else index.tz_convert("UTC")
        return bars.assign(ts=ts, asset_class=_CLASSES.get(kind, "equity"), currency=currency.upper())


def _session(client: Client) -> Any:
    """A session for yfinance, as a browser; charts are asked for by `client`, cookies as yfinance likes."""
    from curl_cffi import CurlECode, CurlOpt, requests

    moved = not (urlsplit(client.base_url).hostname or "").endswith(".yahoo.com")

    class Session(requests.Session):
        symbol = ""

        def request(self, method: str, url: str, **options: Any) -> Any:
            parts = urlsplit(url)
            chart = parts.path.startswith("/v8/finance/chart/")
            if chart or moved:
                url = f"{client.base_url}{parts.path}"
            if not chart:
                return super().request(method, url, **options)
            answers: list[Any] = []

            def send() -> Reply:
                try:
                    answers.append(super(Session, self).request(method, url, **options))
                except requests.exceptions.Timeout as error:
                    what = f"no answer within {client.provider.timeout:g} s"
                    raise UnavailableError(client.name, self.symbol, what) from error
                except requests.exceptions.RequestException as error:
                    if error.code == CurlECode.FILESIZE_EXCEEDED:
                        what = f"answer is larger than {client.max_bytes:,} bytes"
                        raise TooLargeError(client.name, self.symbol, what) from error
                    what = f"connection failed ({type(error).__name__})"
                    raise UnavailableError(client.name, self.symbol, what) from error
                answer = answers[-1]
                headers = {name.lower(): str(value) for name, value in answer.headers.items()}
                return Reply(answer.status_code, headers, answer.content)

            client.ask(self.symbol, send, client.json_of)
            return answers[-1]

    return Session(impersonate="chrome", curl_options={CurlOpt.MAXFILESIZE_LARGE: client.max_bytes})
