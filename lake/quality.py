"""The rules that a bar must keep to enter `raw/bars`: a pandera schema for single rows, duplicates within a batch."""

import pandas as pd
import pandera.pandas as pa

_PRICE = [
    pa.Check.gt(0, name="price_positive", error="prices must be above 0"),
    pa.Check.lt(float("inf"), name="price_finite", error="prices must be finite"),
]

BARS = pa.DataFrameSchema(
    {
        "symbol": pa.Column(
            str,
            pa.Check.str_matches(
                r"^[A-Z0-9^][A-Z0-9.^=_-]{0,31}$",
                name="symbol_form",
                error="symbol must be 1 to 32 of A-Z 0-9 . ^ = _ -",
            ),
        ),
        "asset_class": pa.Column(str),
        "interval": pa.Column(str, pa.Check.isin(["1d"], name="interval_known", error="interval must be 1d")),
        "ts": pa.Column(
            pd.DatetimeTZDtype("ns", "UTC"),
            pa.Check(
                lambda ts: ts == ts.dt.normalize(),
                name="ts_on_grid",
                error="ts of a daily bar must be the session date at 00:00 UTC",
            ),
        ),
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
        "currency": pa.Column(str),
    },
    checks=[
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

_POSITION = {column: position for position, column in enumerate(BARS.columns)}


def broken_rules(bars: pd.DataFrame, now: pd.Timestamp) -> pd.DataFrame:
    """The first broken rule of every bad row.

    Parameters
    ----------
    bars : rows with the columns of `BARS`, any unique index.
    now : sessions after this time are refused.

    Returns
    -------
    Frame indexed like the bad rows of `bars`, with the columns `rule` and `reason`.
    """
    failures = [schema_failures(bars), _flag(bars["ts"] > now, "ts_in_future", "ts lies in the future")]
    duplicated = bars.duplicated(["symbol", "interval", "ts"], keep="last")
    failures.append(_flag(duplicated, "duplicate_key", "a later row of the batch has the same symbol, interval and ts"))
    found = join_failures(*failures)
    return found[~found.index.duplicated()]


def join_failures(*failures: pd.DataFrame) -> pd.DataFrame:
    """Failures of several rules below each other, with the columns `rule` and `reason`; empty where there are none."""
    found = [frame for frame in failures if len(frame)]
    return pd.concat(found) if found else pd.DataFrame({"rule": [], "reason": []}, dtype=object)


def schema_failures(bars: pd.DataFrame) -> pd.DataFrame:
    """The first broken rule of `BARS` of every bad row; columns `rule` and `reason`, index that of the bad rows.

    Raises
    ------
    pandera.errors.SchemaErrors : a column is missing or has another type, which is a fault of the source's code.
    """
    try:
        BARS.validate(bars, lazy=True)
    except pa.errors.SchemaErrors as errors:
        cases = errors.failure_cases
        if cases["index"].isna().any():
            raise
        names = {check.error: check.name for check in _all_checks()}
        missing = cases["check"].eq("not_nullable")
        cases = cases.assign(
            rule=cases["check"].map(names).where(~missing, cases["column"].astype(str) + "_missing"),
            reason=cases["check"].where(~missing, cases["column"].astype(str) + " is missing"),
        )
        # The rule of one field explains more than one between fields: it comes first.
        position = cases["column"].map(_POSITION).where(cases["schema_context"] == "Column", len(_POSITION))
        cases = cases.assign(position=position).sort_values("position", kind="stable")
        return cases.drop_duplicates("index").set_index("index")[["rule", "reason"]]
    return join_failures()


def _all_checks() -> list[pa.Check]:
    return [*BARS.checks, *(check for column in BARS.columns.values() for check in column.checks)]


def _flag(bad: pd.Series, rule: str, reason: str) -> pd.DataFrame:
    return pd.DataFrame({"rule": rule, "reason": reason}, index=bad.index[bad])
