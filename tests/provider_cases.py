"""What is made of the answers of each provider: its rows, and what it says when there are none."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lake.sources.http import SourceError, UnknownSymbolError
from tests.provider_answers import (
    ALPHA_VANTAGE,
    ALPHA_VANTAGE_KEY,
    ALPHA_VANTAGE_UNKNOWN,
    BCRP,
    EDGAR,
    FILED,
    KEY,
    POLYGON_BARS,
    POLYGON_EMPTY,
    RSS,
    YAHOO,
    YAHOO_EMPTY,
    YAHOO_UNKNOWN,
    binance,
    edgar,
    fred,
    nasdaq,
    polygon,
    renamed,
    yahoo,
)
from tests.provider_server import Answer, Request

BARS = ("ts", "open", "high", "low", "close", "adj_close", "volume", "currency")


@dataclass(frozen=True)
class Case:
    """One provider.

    Attributes
    ----------
    answer : the documented answer to a request for `symbol`.
    rows : the columns named by `columns` of what is delivered.
    empty, unknown, changed : answers to any request; `unknown_error` is None where an unknown symbol looks empty.
    missing : the field that `changed` lacks, or what the error says of it.
    pages : requests that `rows` take.
    refused : the answer to a wrong key, for providers with keys.
    actions : splits and dividends that come with the bars.
    """

    name: str
    symbol: str
    answer: Callable[[Request], Any]
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    empty: Any
    unknown: Answer
    changed: Any
    missing: str
    unknown_error: type[SourceError] | None = UnknownSymbolError
    pages: int = 1
    path: str = ""
    base_path: str = ""
    refused: Answer | None = None
    actions: tuple[tuple[Any, ...], ...] = ()


CASES = {
    case.name: case
    for case in (
        Case(
            "yahoo",
            "AAPL",
            yahoo,
            BARS,
            (
                ("2024-01-02", 187.15, 188.44, 183.89, 185.64, 184.73, 82488700.0, "USD"),
                ("2024-01-03", 184.22, 185.88, 183.43, 184.25, 183.35, 58414500.0, "USD"),
            ),
            YAHOO_EMPTY,
            Answer(YAHOO_UNKNOWN, 404),
            renamed(YAHOO, "close", "price"),
            "close",
            path="/v8/finance/chart/",
            actions=(("2024-01-03", "dividend", 0.24), ("2024-01-02", "split", 4.0)),
        ),
        Case(
            "alpha_vantage",
            "IBM",
            lambda _: ALPHA_VANTAGE,
            BARS,
            (
                ("2024-01-03", 161.0, 161.73, 160.08, 160.1, 154.1, 4086065.0, "USD"),
                ("2024-01-02", 162.83, 163.29, 160.46, 161.5, 155.4, 3825044.0, "USD"),
            ),
            ALPHA_VANTAGE | {"Time Series (Daily)": {}},
            Answer({"Error Message": ALPHA_VANTAGE_UNKNOWN}),
            renamed(ALPHA_VANTAGE, "4. close", "4. last"),
            "'close'",
            refused=Answer({"Error Message": ALPHA_VANTAGE_KEY}),
            actions=(("2024-01-03", "dividend", 1.66), ("2024-01-02", "split", 2.0)),
        ),
        Case(
            "polygon",
            "AAPL",
            polygon,
            BARS,
            (
                ("2024-01-02", 187.15, 188.44, 183.885, 185.64, 185.64, 82488674.0, "USD"),
                ("2024-01-03", 184.22, 185.88, 183.43, 184.25, 184.25, 58414460.0, "USD"),
            ),
            POLYGON_EMPTY,
            Answer(POLYGON_EMPTY),
            POLYGON_EMPTY | {"results": renamed(POLYGON_BARS, "c", "close")},
            "'c'",
            unknown_error=None,
            pages=6,  # two as traded, two adjusted, dividends, splits
            refused=Answer({"status": "ERROR", "request_id": "1", "error": "Unknown API Key"}, 401),
            actions=(("2024-01-03", "dividend", 0.25), ("2024-01-02", "split", 4.0)),
        ),
        Case(
            "nasdaq_data_link",
            "AAPL",
            nasdaq,
            BARS,
            (
                ("2024-01-03", 184.22, 185.88, 183.43, 184.25, 183.35, 58414460.0, "USD"),
                ("2024-01-02", 187.15, 188.44, 183.885, 185.64, 184.73, 82488700.0, "USD"),
            ),
            nasdaq(None),
            Answer(nasdaq(None)),
            {"datatable": {"data": [["AAPL", 1.0]], "columns": [{"name": "ticker"}, {"name": "last"}]}}
            | {"meta": {"next_cursor_id": None}},
            "'date'",
            unknown_error=None,
            pages=2,
            refused=Answer(
                {"quandl_error": {"code": "QEAx01", "message": f"We could not recognize your API key: {KEY}."}}, 400
            ),
            actions=(("2024-01-03", "dividend", 0.24), ("2024-01-02", "split", 4.0)),
        ),
        Case(
            "binance",
            "BTCUSDT",
            binance,
            BARS,
            tuple(
                (f"{day:%Y-%m-%d}", 100.0, 120.0, 90.0, 110.5, 110.5, 7.5, "USDT")
                for day in pd.date_range("2017-07-14", periods=1001)
            ),
            [],
            Answer({"code": -1121, "msg": "Invalid symbol."}, 400),
            [[1499040000000, "0.1", "0.8"]],
            "11",
            pages=2,
        ),
        Case(
            "fred",
            "A191RL1Q225SBEA",
            fred,
            ("series", "ts", "value", "released_at"),
            (
                ("A191RL1Q225SBEA", "2023-10-01", 3.3, "2024-01-25"),
                ("A191RL1Q225SBEA", "2023-10-01", 3.2, "2024-02-28"),
                ("A191RL1Q225SBEA", "2024-01-01", 1.6, "2024-04-25"),
            ),
            fred(None),
            Answer({"error_code": 400, "error_message": "Bad Request.  The series does not exist."}, 400),
            {"count": 1, "observations": [{"date": "2024-01-01", "val": "1"}]},
            "'value'",
            pages=2,
            refused=Answer(
                {"error_code": 400, "error_message": "Bad Request.  The value for variable api_key is not registered."},
                400,
            ),
        ),
        Case(
            "bcrp",
            "PD04638PD",
            lambda _: BCRP,
            ("series", "ts", "value", "released_at"),
            (("PD04638PD", "2023-12-29", 3.709, None), ("PD04638PD", "2024-01-02", 3.716, None)),
            BCRP | {"periods": []},
            Answer("", 404),
            BCRP | {"periods": [{"name": "Erstes Vierteljahr", "values": ["1"]}]},
            "'Erstes Vierteljahr' cannot be read",
        ),
        Case(
            "edgar",
            "AAPL",
            edgar,
            ("symbol", "concept", "unit", "period_start", "ts", "value", "fiscal_year", "form", "released_at"),
            (
                (*("AAPL", "us-gaap/NetIncomeLoss", "USD", "2022-09-25", "2023-09-30", 96995e6, 2023), *FILED),
                (*("AAPL", "us-gaap/Assets", "USD", None, "2023-09-30", 352583e6, 2023), *FILED),
            ),
            {"cik": 320193, "entityName": "Apple Inc.", "facts": {}},
            Answer("<html>NoSuchKey</html>", 404),
            renamed(EDGAR, "val", "amount"),
            "'val'",
            path="/api/xbrl/",
            refused=None,
        ),
        Case(
            "news",
            "AAPL",
            lambda _: RSS,
            ("symbol", "ts", "id", "headline", "url"),
            (
                ("AAPL", "2024-01-02 14:30:00", "n-1", "Apple & partners announce", "https://example.com/1"),
                ("AAPL", "2024-01-03 14:00:00", "https://example.com/2", "Analysts disagree", "https://example.com/2"),
            ),
            "<rss version='2.0'><channel><title>none</title></channel></rss>",
            Answer("", 404),
            RSS.replace("pubDate", "date"),
            "no headline or time",
            base_path="/rss?s={symbol}",
        ),
    )
}
