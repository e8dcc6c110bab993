"""Splits and dividends from a file: columns symbol, date, kind and value, and currency where it is not US dollars."""

import numpy as np
import pandas as pd
import pyarrow as pa

from lake.sources.files.cells import Cells, UnreadableFileError
from lake.sources.files.formats import plain, upper
from lake.sources.files.values import date_order, parse_numbers, parse_stamps

_HEADER = {"symbol", "date", "kind", "value"}


def holds_actions(cells: Cells) -> bool:
    """Whether a file is about splits and dividends, by its column names."""
    return _HEADER <= set(map(plain, cells.table.column_names)) <= _HEADER | {"currency"}


def read_actions(cells: Cells, filename: str) -> tuple[pd.DataFrame, pd.Series]:
    """Read cells, each row alone.

    Returns
    -------
    actions : the columns of `raw/corporate_actions` that sources deliver, a row a row of the cells.
    unreadable : what could not be read in each row, in words; null where all was.

    Raises
    ------
    UnreadableFileError : the order of day and month is not clear.
    """
    columns = {plain(name): cells.table[name].combine_chunks() for name in cells.table.column_names}
    order, doubt = date_order(columns["date"])
    if doubt:
        raise UnreadableFileError(f"{filename}: the order of day and month is not clear: {doubt}; write 2024-12-31")
    dates = parse_stamps(columns["date"], order).local
    values, broken = parse_numbers(columns["value"], ".")
    kind = _texts(columns["kind"]).str.lower()
    currency = _texts(columns["currency"]).str.upper() if "currency" in columns else pd.Series(pd.NA, index=kind.index)
    actions = pd.DataFrame(
        {
            "symbol": _texts(columns["symbol"]).map(upper, na_action="ignore"),
            "ts": dates.dt.tz_localize("UTC"),
            "kind": kind,
            "value": values,
            "currency": currency.fillna("USD").where(kind.eq("dividend")),
        }
    )
    unreadable = pd.Series(pd.NA, index=actions.index, dtype="string")
    for column, bad in (("value", broken), ("date", dates.isna() & _texts(columns["date"]).notna())):
        for row in np.flatnonzero(bad).tolist():
            unreadable[row] = f"{column} {columns[column][row].as_py()!r} cannot be read"
    unreadable.iloc[list(cells.broken)] = [problem for _, problem in cells.broken.values()]
    return actions, unreadable


def _texts(cells: pa.Array) -> pd.Series:
    texts = cells.to_pandas().astype("string")
    return texts.where(texts != "")
