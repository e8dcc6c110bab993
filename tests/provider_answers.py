"""The answers of the providers, in the shapes of the documentation that is named beside each."""

from copy import deepcopy
from typing import Any

from tests.provider_server import Answer, Request

KEY = "s3cret-key"


def renamed(document: Any, old: str, new: str) -> Any:
    """A copy in which every key `old` is called `new`."""
    if isinstance(document, dict):
        return {new if key == old else key: renamed(value, old, new) for key, value in document.items()}
    return [renamed(item, old, new) for item in document] if isinstance(document, list) else document


# Chart endpoint, in the shape that yfinance 1.7 reads (yfinance/scrapers/history.py, utils.parse_quotes).
YAHOO = {
    "chart": {
        "result": [
            {
                "meta": {
                    "currency": "USD",
                    "symbol": "AAPL",
                    "exchangeName": "NMS",
                    "instrumentType": "EQUITY",
                    "firstTradeDate": 345479400,
                    "regularMarketTime": 1704402001,
                    "gmtoffset": -18000,
                    "timezone": "EST",
                    "exchangeTimezoneName": "America/New_York",
                    "priceHint": 2,
                    "dataGranularity": "1d",
                    "range": "",
                    "validRanges": ["1d", "5d", "1mo", "max"],
                },
                "timestamp": [1704205800, 1704292200],
                "indicators": {
                    "quote": [
                        {
                            "open": [187.15, 184.22],
                            "high": [188.44, 185.88],
                            "low": [183.89, 183.43],
                            "close": [185.64, 184.25],
                            "volume": [82488700, 58414500],
                        }
                    ],
                    "adjclose": [{"adjclose": [184.73, 183.35]}],
                },
                "events": {
                    "dividends": {"1704292200": {"amount": 0.24, "date": 1704292200}},
                    "splits": {
                        "1704205800": {"date": 1704205800, "numerator": 4, "denominator": 1, "splitRatio": "4:1"}
                    },
                },
            }
        ],
        "error": None,
    }
}
YAHOO_UNKNOWN = {
    "chart": {"result": None, "error": {"code": "Not Found", "description": "No data found, symbol may be delisted"}}
}
YAHOO_EMPTY = deepcopy(YAHOO)
YAHOO_EMPTY["chart"]["result"][0]["indicators"] = {"quote": [{}]}  # type: ignore[index]


def yahoo(request: Request) -> Any:
    """Chart, and the cookie and crumb that yfinance asks for first."""
    if request.path.startswith("/v8/finance/chart/AAPL"):
        return YAHOO
    return "a-crumb" if request.path.endswith("getcrumb") else Answer(status=404)


# https://www.alphavantage.co/documentation/#dailyadj
ALPHA_VANTAGE = {
    "Meta Data": {
        "1. Information": "Daily Time Series with Splits and Dividend Events",
        "2. Symbol": "IBM",
        "3. Last Refreshed": "2024-01-03",
        "4. Output Size": "Full size",
        "5. Time Zone": "US/Eastern",
    },
    "Time Series (Daily)": {
        day: {
            "1. open": bar[0],
            "2. high": bar[1],
            "3. low": bar[2],
            "4. close": bar[3],
            "5. adjusted close": bar[4],
            "6. volume": bar[5],
            "7. dividend amount": bar[6],
            "8. split coefficient": bar[7],
        }
        for day, bar in {
            "2024-01-03": ("161.0", "161.73", "160.08", "160.1", "154.1", "4086065", "1.6600", "1.0"),
            "2024-01-02": ("162.83", "163.29", "160.46", "161.5", "155.4", "3825044", "0.0000", "2.0"),
        }.items()
    },
}
ALPHA_VANTAGE_UNKNOWN = (
    "Invalid API call. Please retry or visit the documentation (https://www.alphavantage.co/documentation/) "
    "for TIME_SERIES_DAILY_ADJUSTED."
)
ALPHA_VANTAGE_KEY = (
    "the parameter apikey is invalid or missing. Please claim your free API key on "
    "(https://www.alphavantage.co/support/#api-key). It should take less than 20 seconds."
)

# https://polygon.io/docs/rest/stocks/aggregates/custom-bars
POLYGON_BARS = [
    {"v": 8.2488674e7, "vw": 185.9465, "o": 187.15, "c": 185.64, "h": 188.44, "l": 183.885, "t": 1704171600000, "n": 1},
    {"v": 5.841446e7, "vw": 184.3226, "o": 184.22, "c": 184.25, "h": 185.88, "l": 183.43, "t": 1704258000000, "n": 1},
]
POLYGON_EMPTY = {"ticker": "AAPL", "queryCount": 0, "resultsCount": 0, "adjusted": True, "status": "OK", "count": 0}


# https://polygon.io/docs/rest/stocks/corporate-actions/dividends and .../splits
POLYGON_DIVIDENDS = [
    {
        "cash_amount": amount,
        "currency": currency,
        "declaration_date": "2023-12-12",
        "dividend_type": "CD",
        "ex_dividend_date": "2024-01-03",
        "frequency": 4,
        "id": "E416a068758f85277196150c3eb73a3331d04698856c141e883ad95710dd0b189",
        "pay_date": "2024-01-11",
        "record_date": "2024-01-04",
        "ticker": "AAPL",
    }
    for amount, currency in ((0.125, "USD"), (0.125, "USD"), (9.0, "CAD"))
]
POLYGON_SPLITS = [
    {"execution_date": "2024-01-02", "id": "E1", "split_from": 1, "split_to": 4, "ticker": "AAPL"},
]


def polygon(request: Request) -> Any:
    """Two pages of one bar, the link to the second names the public host; and what went ex."""
    if request.path.startswith("/v3/reference/"):
        events = POLYGON_DIVIDENDS if request.path.endswith("dividends") else POLYGON_SPLITS
        return {"results": events, "status": "OK", "request_id": "6a7e466379af0a71039d60cc78e72282"}
    second = request.query.get("cursor") == "bGltaXQ9MQ"
    page = POLYGON_EMPTY | {"results": [POLYGON_BARS[second]], "resultsCount": 1, "queryCount": 1, "count": 1}
    link = "https://api.polygon.io/v2/aggs/ticker/AAPL/range/1/day/1704171600000/1704258000000?cursor=bGltaXQ9MQ"
    return page if second else page | {"next_url": link}


# https://docs.data.nasdaq.com/docs/parameters-1 and https://docs.data.nasdaq.com/docs/error-codes
_NASDAQ_COLUMNS = ("ticker", "date", "open", "high", "low", "close", "volume", "dividend", "split", "adj_close")
_NASDAQ_ROWS = [
    ["AAPL", "2024-01-03", 184.22, 185.88, 183.43, 184.25, 58414460.0, 0.24, 1.0, 183.35],
    ["AAPL", "2024-01-02", 187.15, 188.44, 183.885, 185.64, 82488700.0, 0.0, 4.0, 184.73],
]


def nasdaq(request: Request | None) -> Any:
    """Two pages of one row, or an empty page."""
    second = request is not None and request.query.get("qopts.cursor_id") == "djFfMQ=="
    rows = [_NASDAQ_ROWS[second]] if request else []
    columns = [{"name": name, "type": "Date" if name == "date" else "text"} for name in _NASDAQ_COLUMNS]
    cursor = None if second or request is None else "djFfMQ=="
    return {"datatable": {"data": rows, "columns": columns}, "meta": {"next_cursor_id": cursor}}


# https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints#klinecandlestick-data
_DAY = 86_400_000
_KLINES = [
    [at, "100.0", "120.0", "90.0", "110.5", "7.5", at + _DAY - 1, "2434.19", 308, "1756.87", "28.46", "0"]
    for at in range(1_500_000_000_000 - 1_500_000_000_000 % _DAY, 1_500_000_000_000 + 1001 * _DAY, _DAY)
][:1001]


def binance(request: Request) -> Any:
    """1,001 days, of which a page holds at most 1,000."""
    since = int(request.query["startTime"])
    return [kline for kline in _KLINES if int(kline[0]) >= since][: int(request.query["limit"])]


# https://fred.stlouisfed.org/docs/api/fred/series_observations.html and .../errors.html
_FRED = [
    ("2023-10-01", "3.3", "2024-01-25"),
    ("2023-10-01", "3.2", "2024-02-28"),
    ("2024-01-01", ".", "2024-04-25"),
    ("2024-01-01", "1.6", "2024-04-25"),
]


def fred(request: Request | None) -> Any:
    """Observations with their vintages, three a page."""
    offset = int(request.query["offset"]) if request else 0
    rows = _FRED[offset : offset + 3] if request else []
    return {
        "realtime_start": "1776-07-04",
        "realtime_end": "9999-12-31",
        "units": "lin",
        "output_type": 1,
        "file_type": "json",
        "count": len(_FRED) if request else 0,
        "offset": offset,
        "limit": 3,
        "observations": [
            {"realtime_start": released, "realtime_end": "9999-12-31", "date": day, "value": value}
            for day, value, released in rows
        ],
    }


# https://estadisticas.bcrp.gob.pe/estadisticas/series/ayuda/api
BCRP = {
    "config": {
        "title": "Tipo de cambio - TC Interbancario (S/ por US$) - Venta",
        "series": [{"name": "Tipo de cambio - TC Interbancario (S/ por US$) - Venta", "dec": "3"}],
    },
    "periods": [
        {"name": "29.Dic.23", "values": ["3.709"]},
        {"name": "01.Ene.24", "values": ["n.d."]},
        {"name": "02.Ene.24", "values": ["3.716"]},
    ],
}

# https://www.sec.gov/search-filings/edgar-application-programming-interfaces
EDGAR = {
    "cik": 320193,
    "entityName": "Apple Inc.",
    "facts": {
        "us-gaap": {
            "NetIncomeLoss": {
                "label": "Net Income (Loss)",
                "description": "...",
                "units": {
                    "USD": [
                        {
                            "start": "2022-09-25",
                            "end": "2023-09-30",
                            "val": 96995000000,
                            "accn": "0000320193-23-000106",
                            "fy": 2023,
                            "fp": "FY",
                            "form": "10-K",
                            "filed": "2023-11-03",
                            "frame": "CY2023",
                        }
                    ]
                },
            },
            "Assets": {
                "label": "Assets",
                "description": "...",
                "units": {
                    "USD": [
                        {
                            "end": "2023-09-30",
                            "val": 352583000000,
                            "accn": "0000320193-23-000106",
                            "fy": 2023,
                            "fp": "FY",
                            "form": "10-K",
                            "filed": "2023-11-03",
                        }
                    ]
                },
            },
        }
    },
}


FILED = ("10-K", "2023-11-03")


def edgar(request: Request) -> Any:
    """The list of tickers, and the facts of one company."""
    if request.path == "/files/company_tickers.json":
        return {"0": {"cik_str": 320193, "ticker": "AAPL", "title": "Apple Inc."}}
    return EDGAR if request.path.endswith("CIK0000320193.json") else Answer("<html>NoSuchKey</html>", 404)


# https://www.rssboard.org/rss-specification
RSS = """<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0"><channel><title>Yahoo! Finance: AAPL News</title><link>http://finance.yahoo.com/q/h?s=AAPL</link>
<description>Latest Financial News for AAPL</description>
<item><title>Apple &amp; partners announce</title><link>https://example.com/1</link><guid isPermaLink="false">n-1</guid>
<pubDate>Tue, 02 Jan 2024 14:30:00 +0000</pubDate></item>
<item><title>Analysts disagree</title><link>https://example.com/2</link>
<pubDate>Wed, 03 Jan 2024 09:00:00 -0500</pubDate></item>
</channel></rss>"""

HTML = "<!DOCTYPE html><html><body>We will be right back</body></html>"
