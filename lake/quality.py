"""The rules that a row must keep to enter its raw table: a pandera schema for each row, duplicates within a batch."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pandera.pandas as pa

# Sessions open at :00, :15 or :30, and hourly bars count from there.
_GRIDS = {"1d": "1D", "1h": "15min", "1m": "1min"}

# Text columns are categories: a rule then looks at each distinct value once, not at every row.
_PRICE = [
    pa.Check.gt(0, name="price_positive", error="prices must be above 0"),
    pa.Check.lt(float("inf"), name="price_finite", error="prices must be finite"),
]

_SYMBOL = pa.Column(
    pa.Category,
    pa.Check.str_matches(
        r"^[A-Z0-9^][A-Z0-9.^=_-]{0,31}$",
        name="symbol_form",
        error="symbol must be 1 to 32 of A-Z 0-9 . ^ = _ -",
    ),
    coerce=True,
)
_TS = pd.DatetimeTZDtype("ns", "UTC")
_TEXT = pa.Column(pa.Category, coerce=True)
_VALUE = pa.Column(
    float, pa.Check(lambda value: value.abs() < float("inf"), name="value_finite", error="value must be finite")
)


def _on_grid(bars: pd.DataFrame) -> pd.Series:
    on_grid = np.ones(len(bars), dtype=bool)
    for interval, grid in _GRIDS.items():
        rows = (bars["interval"] == interval).to_numpy()
        ts = bars["ts"][rows]
        on_grid[rows] = (ts.dt.floor(grid) == ts).to_numpy()
    return pd.Series(on_grid, index=bars.index)


BARS = pa.DataFrameSchema(
    {
        "symbol": _SYMBOL,
        "asset_class": _TEXT,
        "interval": pa.Column(
            pa.Category,
            pa.Check.isin(list(_GRIDS), name="interval_known", error=f"interval must be one of {', '.join(_GRIDS)}"),
            coerce=True,
        ),
        "ts": pa.Column(_TS),
        "open": pa.Column(float, _PRICE, nullable=True),
        "high": pa.Column(float, _PRICE, nullable=True),
        "low": pa.Column(float, _PRICE, nullable=True),
        "close": pa.Column(float, _PRICE),
        "adj_close": pa.Column(float, _PRICE),
        "volume": pa.Column(
            float,
            [
                pa.Check.ge(0, name="volume_not_negative", error="volume must be 0 or more"),
                pa.Check.lt(float("inf"), name="volume_finite", error="volume must be finite"),
            ],
            nullable=True,
        ),
        "currency": _TEXT,
    },
    checks=[
        pa.Check(
            _on_grid,
            name="ts_on_grid",
            error="ts of a daily bar must be the session date at 00:00 UTC, of 1h a quarter hour, of 1m a minute",
        ),
        pa.Check(
            lambda bars: (bars["high"] >= bars["low"]) | bars["high"].isna() | bars["low"].isna(),
            name="high_not_below_low",
            error="high must not be below low",
        ),
        pa.Check(
            lambda bars: ~((bars["close"] > bars["high"]) | (bars["close"] < bars["low"])),
            name="close_within_range",
            error="close must lie between low and high",
        ),
        pa.Check(
            lambda bars: ~((bars["open"] > bars["high"]) | (bars["open"] < bars["low"])),
            name="open_within_range",
            error="open must lie between low and high",
        ),
    ],
)
"""Schema of a row as a source delivers it; pandas columns of `lake.sources.base.BAR_COLUMNS`."""

CORPORATE_ACTIONS = pa.DataFrameSchema(
    {
        "symbol": _SYMBOL,
        "ts": pa.Column(
            _TS,
            pa.Check(
                lambda ts: ts.dt.normalize() == ts,
                name="ts_on_grid",
                error="ts of a corporate action must be its ex-date at 00:00 UTC",
            ),
        ),
        "kind": pa.Column(
            pa.Category,
            pa.Check.isin(["split", "dividend"], name="kind_known", error="kind must be split or dividend"),
            coerce=True,
        ),
        "value": pa.Column(
            float,
            [
                pa.Check.ge(0, name="value_not_negative", error="value must be 0 (withdrawn) or more"),
                pa.Check.lt(float("inf"), name="value_finite", error="value must be finite"),
            ],
        ),
    },
    checks=[
        pa.Check(
            lambda actions: (actions["kind"] != "dividend") | actions["currency"].notna(),
            name="currency_missing",
            error="a dividend needs its currency",
        )
    ],
)
MACRO = pa.DataFrameSchema({"series": _TEXT, "ts": pa.Column(_TS), "value": _VALUE})
FUNDAMENTALS = pa.DataFrameSchema(
    {
        **{"symbol": _SYMBOL, "concept": _TEXT, "unit": _TEXT, "ts": pa.Column(_TS), "value": _VALUE},
        **{"form": _TEXT, "accession": _TEXT, "released_at": pa.Column(_TS)},
    }
)
NEWS = pa.DataFrameSchema({"symbol": _SYMBOL, "ts": pa.Column(_TS), "id": _TEXT, "headline": _TEXT})


def broken_rules(
    bars: pd.DataFrame,
    now: pd.Timestamp,
    schema: pa.DataFrameSchema = BARS,
    key: Sequence[str] = ("symbol", "interval", "ts"),
    past: str | None = "ts",
) -> pd.DataFrame:
    """The first broken rule of every bad row.

    Parameters
    ----------
    bars : rows with the columns of `schema`, any unique index.
    now : rows of a later `past` are refused.
    schema : the rules of single rows.
    key : columns that identify a row within a batch.
    past : the column of the time that cannot lie ahead; None where rows may be announced.

    Returns
    -------
    Frame indexed like the bad rows of `bars`, with the columns `rule` and `reason`.
    """
    failures = [schema_failures(bars, schema)]
    if past:
        ahead = bars[past] > now
        failures.append(flag(ahead, f"{past}_in_future", f"{past} lies in the future"))
    duplicated = bars.duplicated(list(key), keep="last")
    same = f"{', '.join(key[:-1])} and {key[-1]}"
    failures.append(flag(duplicated, "duplicate_key", f"a later row of the batch has the same {same}"))
    found = join_failures(*failures)
    return found[~found.index.duplicated()]


def join_failures(*failures: pd.DataFrame) -> pd.DataFrame:
    """Failures of several rules below each other, with the columns `rule` and `reason`; empty where there are none."""
    found = [frame for frame in failures if len(frame)]
    return pd.concat(found) if found else pd.DataFrame({"rule": [], "reason": []}, dtype=object)


def schema_failures(bars: pd.DataFrame, schema: pa.DataFrameSchema = BARS) -> pd.DataFrame:
    """The first broken rule of `schema` of every bad row; columns `rule` and `reason`, index that of the bad rows.

    Raises
    ------
    pandera.errors.SchemaErrors : a column is missing or has another type, which is a fault of the source's code.
    """
    try:
        schema.validate(bars, lazy=True)
    except pa.errors.SchemaErrors as errors:
        cases = errors.failure_cases
        if cases["index"].isna().any():
            raise
        names = {check.error: check.name for check in _all_checks(schema)}
        missing = cases["check"].eq("not_nullable")
        cases = cases.assign(
            rule=cases["check"].map(names).where(~missing, cases["column"].astype(str) + "_missing"),
            reason=cases["check"].where(~missing, cases["column"].astype(str) + " is missing"),
        )
        # The rule of one field explains more than one between fields: it comes first.
        positions = {column: position for position, column in enumerate(schema.columns)}
        position = cases["column"].map(positions).where(cases["schema_context"] == "Column", len(positions))
        cases = cases.assign(position=position).sort_values("position", kind="stable")
        return cases.drop_duplicates("index").set_index("index")[["rule", "reason"]]
    return join_failures()


def _all_checks(schema: pa.DataFrameSchema) -> list[pa.Check]:
    return [*schema.checks, *(check for column in schema.columns.values() for check in column.checks)]


def flag(bad: pd.Series, rule: str, reason: str) -> pd.DataFrame:
    """Failures of the rows where `bad` is true."""
    return pd.DataFrame({"rule": rule, "reason": reason}, index=bad.index[bad])
