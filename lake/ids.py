"""Ids: names that follow from what they name, so that whoever has it can verify its name."""

import hashlib
from datetime import datetime


def forecast_id(symbol: str, target: str, as_of: datetime, model: str, version: str) -> str:
    """Sixteen hex digits that name a forecast for ever."""
    return _digits(f"{symbol}|{target}|{as_of:%Y-%m-%d}|{model}|{version}")


def batch_id(source: str, table: str, payload_hash: str, before: int) -> str:
    """Sixteen hex digits that name a batch of a source for a table.

    Parameters
    ----------
    before : how often the same payload was ingested before.
    """
    return _digits(f"{source}|{table}|{payload_hash}|{before}")


def _digits(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
