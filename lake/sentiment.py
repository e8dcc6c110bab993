"""How good or bad a headline sounds: the lexicon VADER with words of finance. Experimental: no proven signal."""

from functools import cache
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
from duckdb.func import FunctionNullHandling, PythonUDFType

if TYPE_CHECKING:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

FINANCE: dict[str, float] = {
    # what happens to prices
    **dict.fromkeys(("rise", "rises", "rose", "gains", "climbs", "climbed", "advances", "rebounds", "upbeat"), 1.5),
    **dict.fromkeys(("jumps", "jumped", "rally", "rallies", "rallied", "outperform", "outperforms", "bullish"), 2.2),
    **dict.fromkeys(("surge", "surges", "surged", "soar", "soars", "soared", "skyrockets"), 2.8),
    **dict.fromkeys(("fall", "falls", "fell", "dips", "slips", "slides", "slid", "declines", "retreats"), -1.5),
    **dict.fromkeys(("drops", "dropped", "tumbles", "tumbled", "slumps", "underperform", "bearish", "selloff"), -2.2),
    **dict.fromkeys(("plunge", "plunges", "plunged", "plummets", "crashes", "collapses", "nosedives"), -2.8),
    # what companies and analysts say
    **dict.fromkeys(("beat", "beats", "exceed", "exceeds", "tops", "upgrade", "upgrades", "upgraded", "raises"), 1.8),
    **dict.fromkeys(("raised", "record", "profitable", "expands", "buyback", "dividend", "breakthrough"), 1.2),
    **dict.fromkeys(("miss", "misses", "missed", "downgrade", "downgrades", "downgraded", "disappoint"), -1.8),
    **dict.fromkeys(("lowered", "lowers", "cuts", "delays", "shortfall", "impairment", "writedown", "recall"), -1.5),
    **dict.fromkeys(("layoffs", "lawsuit", "probe", "investigation", "restates", "resigns", "cancelled"), -1.6),
    **dict.fromkeys(("bankruptcy", "insolvency", "defaults", "delisted", "fraud", "indicted"), -3.2),
    # words that praise or blame elsewhere, and say nothing here
    **dict.fromkeys(("share", "shares", "interest", "interests", "gross", "crude", "vice", "mature", "special"), 0.0),
}
"""Valence of words from -4 (worst) to 4, over VADER's own."""


def headline_sentiment(headline: str) -> float:
    """Sentiment of a headline from -1 (bad) to 1 (good): VADER's compound score; 0 where no word says anything.

    References
    ----------
    C. J. Hutto and E. Gilbert, VADER: a parsimonious rule-based model for sentiment analysis of social media text
    (2014). T. Loughran and B. McDonald, When is a liability not a liability? (2011), on words of finance.
    """
    return float(_analyzer().polarity_scores(headline)["compound"])


def register(connection: duckdb.DuckDBPyConnection) -> None:
    """Make `headline_sentiment(varchar)` known to a DuckDB connection, null for null; twice does nothing."""
    name = headline_sentiment.__name__
    known = connection.execute("select 1 from duckdb_functions() where function_name = ?", [name]).fetchone()
    if known is None:
        connection.create_function(
            name,
            headline_sentiments,
            ["varchar"],
            "double",
            type=PythonUDFType.ARROW,
            null_handling=FunctionNullHandling.SPECIAL,
        )


def headline_sentiments(headlines: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Sentiment of each headline, null for null."""
    scores = [None if headline is None else headline_sentiment(headline) for headline in headlines.to_pylist()]
    return pa.array(scores, pa.float64())


@cache
def _analyzer() -> "SentimentIntensityAnalyzer":
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyzer = SentimentIntensityAnalyzer()
    analyzer.lexicon.update(FINANCE)
    return analyzer
