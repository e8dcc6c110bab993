"""The declared tables of the lake: name, columns with their meaning, key, partitioning. dbt declares its own models."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

UTC_TIMESTAMP = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class TableSpec:
    """A declared Delta table.

    Attributes
    ----------
    name : `<group>/<table>`, which is also its path below the lake's URI and its Dagster asset key.
    schema : Arrow schema; each field's metadata carries its `description`.
    key : columns that identify a row (in `raw/bars`, together with `ingested_at`).
    partition_by : partition columns of the Delta table.
    known_since : of a bitemporal (append-only) table, the column that says when the lake learned a row.
    """

    name: str
    description: str
    schema: pa.Schema
    key: tuple[str, ...]
    partition_by: tuple[str, ...] = ()
    known_since: str = ""


def _field(name: str, kind: pa.DataType, description: str, nullable: bool = True) -> pa.Field:
    return pa.field(name, kind, nullable, metadata={"description": description})


def field_description(field: pa.Field) -> str:
    """The description kept in a field's metadata; empty when there is none."""
    return (field.metadata or {}).get(b"description", b"").decode()


def _spec(
    name: str,
    description: str,
    fields: Sequence[pa.Field],
    *,
    key: Sequence[str],
    partition_by: Sequence[str] = (),
    known_since: str = "",
) -> TableSpec:
    return TableSpec(name, description, pa.schema(fields), tuple(key), tuple(partition_by), known_since)


_BATCH_ID = _field("batch_id", pa.string(), "Ingestion batch that brought the row.", nullable=False)
_SOURCE = _field("source", pa.string(), "Source of the row: an embedded package, a provider or `file`.", nullable=False)
_ORIGIN = _field(
    "origin",
    pa.string(),
    "What the source read: a data set of a package or a provider, or a file name.",
    nullable=False,
)

RAW_BARS = _spec(
    "raw/bars",
    "Every version of every bar that any source ever delivered. Append-only; a correction is a new row.",
    [
        _field("symbol", pa.string(), "Ticker, upper case.", nullable=False),
        _field("asset_class", pa.string(), "equity, index, etf, commodity, volatility or crypto.", nullable=False),
        _field("interval", pa.string(), "Length of the bar: 1d, 1h or 1m.", nullable=False),
        _field(
            "ts",
            UTC_TIMESTAMP,
            "When it happened: the session date at 00:00 UTC; for 1h and 1m the start of the bar.",
            nullable=False,
        ),
        _field("open", pa.float64(), "First price; null where the source has closes only."),
        _field("high", pa.float64(), "Highest price; null where the source has closes only."),
        _field("low", pa.float64(), "Lowest price; null where the source has closes only."),
        _field("close", pa.float64(), "Last price as delivered.", nullable=False),
        _field(
            "adj_close",
            pa.float64(),
            "Close adjusted for splits and dividends, as delivered; a fallback's on the base of the series.",
            nullable=False,
        ),
        _field("volume", pa.float64(), "Units traded; null where the source has none."),
        _field("currency", pa.string(), "ISO 4217 code, or the unit of an index.", nullable=False),
        _SOURCE,
        _BATCH_ID,
        _field("ingested_at", UTC_TIMESTAMP, "When we learned it.", nullable=False),
        _field("year", pa.int32(), "Year of ts; the partition.", nullable=False),
    ],
    key=("symbol", "interval", "ts", "source"),
    partition_by=("year",),
    known_since="ingested_at",
)

RAW_INSTRUMENTS = _spec(
    "raw/instruments",
    "One row a known series: what it is and which source is preferred for the whole of it.",
    [
        _field("symbol", pa.string(), "Ticker, upper case.", nullable=False),
        _field("name", pa.string(), "Full name.", nullable=False),
        _field("asset_class", pa.string(), "equity, index, etf, commodity, volatility or crypto.", nullable=False),
        _field("currency", pa.string(), "ISO 4217 code, or the unit of an index; null where only its bars say it."),
        _field("calendar", pa.string(), "Exchange calendar: ISO 10383 market code, or 24/7.", nullable=False),
        _field("source", pa.string(), "Preferred source of the series.", nullable=False),
        _field(
            "fallbacks",
            pa.string(),
            "Sources, comma-separated, that may continue the series where the preferred one fails; empty: none.",
            nullable=False,
        ),
        _field(
            "ends_at", UTC_TIMESTAMP, "Last session that the preferred source will ever have; null where it goes on."
        ),
        _field("sector", pa.string(), "Sector of a company (GICS): energy, materials ...; null where it is not known."),
    ],
    key=("symbol",),
)

RAW_SESSIONS = _spec(
    "raw/sessions",
    "Sessions of every exchange calendar in use, holidays left out, to the end of the present year.",
    [
        _field("calendar", pa.string(), "Exchange calendar: ISO 10383 market code, or 24/7.", nullable=False),
        _field("ts", UTC_TIMESTAMP, "Session date at 00:00 UTC.", nullable=False),
        _field("opens_at", UTC_TIMESTAMP, "Opening.", nullable=False),
        _field("closes_at", UTC_TIMESTAMP, "Close.", nullable=False),
        _field("break_starts_at", UTC_TIMESTAMP, "Start of the lunch break; null where there is none."),
        _field("break_ends_at", UTC_TIMESTAMP, "End of the lunch break; null where there is none."),
        _field("early_close", pa.bool_(), "Whether it closes earlier than usual (a half day).", nullable=False),
        _field("timezone", pa.string(), "Time zone of the exchange (IANA name).", nullable=False),
        _field("previous_holiday", UTC_TIMESTAMP, "Last day before it that had no session, weekends left out."),
        _field(
            "next_holiday",
            UTC_TIMESTAMP,
            "Next day without a session by the exchange's rules, weekends left out: no closure that nobody foresaw.",
        ),
    ],
    key=("calendar", "ts"),
)

_INGESTED_AT = _field("ingested_at", UTC_TIMESTAMP, "When we learned it.", nullable=False)

RAW_CORPORATE_ACTIONS = _spec(
    "raw/corporate_actions",
    "Every version of every split and dividend that any source ever delivered. Append-only; a correction is a new row.",
    [
        _field("symbol", pa.string(), "Ticker, upper case.", nullable=False),
        _field("ts", UTC_TIMESTAMP, "Ex-date at 00:00 UTC.", nullable=False),
        _field("kind", pa.string(), "split or dividend.", nullable=False),
        _field(
            "value",
            pa.float64(),
            "New shares per old one; cash per share; 0 for an action that is withdrawn.",
            nullable=False,
        ),
        _field("currency", pa.string(), "ISO 4217 code of a dividend; null for a split."),
        _SOURCE,
        _BATCH_ID,
        _INGESTED_AT,
    ],
    key=("symbol", "kind", "ts", "source"),
    known_since="ingested_at",
)

RAW_MACRO = _spec(
    "raw/macro",
    "Every vintage of every value of the macro series. Append-only; a revision is a new row.",
    [
        _field("series", pa.string(), "Code of the series at its source.", nullable=False),
        _field("ts", UTC_TIMESTAMP, "First day of the period that the value is of, at 00:00 UTC.", nullable=False),
        _field("value", pa.float64(), "Value in the unit of the series.", nullable=False),
        _field(
            "released_at",
            UTC_TIMESTAMP,
            "Day on which the source published the value; null where it does not (BCRP): certain since ingested_at.",
        ),
        _SOURCE,
        _BATCH_ID,
        _INGESTED_AT,
    ],
    key=("series", "ts", "released_at", "source"),
    known_since="ingested_at",
)

RAW_FUNDAMENTALS = _spec(
    "raw/fundamentals",
    "Every fact of every filing, dated by the day of the filing. Append-only; a restatement is a new row.",
    [
        _field("symbol", pa.string(), "Ticker, upper case.", nullable=False),
        _field("concept", pa.string(), "Taxonomy and name of the fact: us-gaap/NetIncomeLoss.", nullable=False),
        _field("unit", pa.string(), "Unit of the value: USD, shares, USD/shares.", nullable=False),
        _field("period_start", UTC_TIMESTAMP, "First day of the period; null for a balance at one day."),
        _field("ts", UTC_TIMESTAMP, "Last day of the period, or the day of the balance.", nullable=False),
        _field("value", pa.float64(), "Value in that unit.", nullable=False),
        _field("fiscal_year", pa.int32(), "Fiscal year of the filing."),
        _field("fiscal_period", pa.string(), "Fiscal period of the filing: FY, Q1, Q2 or Q3."),
        _field("form", pa.string(), "Form of the filing: 10-K, 10-Q ...", nullable=False),
        _field("accession", pa.string(), "Accession number of the filing.", nullable=False),
        _field("released_at", UTC_TIMESTAMP, "Day on which it was filed: known since then.", nullable=False),
        _SOURCE,
        _BATCH_ID,
        _INGESTED_AT,
    ],
    key=("symbol", "concept", "unit", "period_start", "ts", "accession", "source"),
    known_since="ingested_at",
)

RAW_NEWS = _spec(
    "raw/news",
    "Headlines by symbol and time of publication. Append-only; a changed headline is a new row.",
    [
        _field("symbol", pa.string(), "Ticker that the feed is about, upper case.", nullable=False),
        _field("ts", UTC_TIMESTAMP, "When it was published, by the feed's own word.", nullable=False),
        _field("id", pa.string(), "Identity of the item within its feed.", nullable=False),
        _field("headline", pa.string(), "Headline.", nullable=False),
        _field("url", pa.string(), "Address of the text."),
        _SOURCE,
        _BATCH_ID,
        _INGESTED_AT,
    ],
    key=("symbol", "id", "source"),
    known_since="ingested_at",
)

RAW_REJECTS = _spec(
    "raw/rejects",
    "Quarantine: every row that was not accepted, with the rule that it broke and its original text.",
    [
        _BATCH_ID,
        _SOURCE,
        _ORIGIN,
        _field("raw_table", pa.string(), "Table that the row was for: raw/bars, raw/news ...", nullable=False),
        _field("row_number", pa.int64(), "Position in the batch, counted from 1.", nullable=False),
        _field("symbol", pa.string(), "Ticker or series, where it could be read."),
        _field("ts", UTC_TIMESTAMP, "Session or time, where it could be read."),
        _field("rule", pa.string(), "Short name of the broken rule.", nullable=False),
        _field("reason", pa.string(), "What is wrong, in words, with a hint where there is one.", nullable=False),
        _field(
            "original",
            pa.string(),
            "The row as it was received, as JSON; of a file that could not be read at all, the beginning of its text.",
            nullable=False,
        ),
        _field("rejected_at", UTC_TIMESTAMP, "When it was rejected.", nullable=False),
    ],
    key=("batch_id", "row_number"),
    known_since="rejected_at",
)

RAW_FLAGS = _spec(
    "raw/flags",
    "Accepted bars that look wrong in their series, with the rule that they broke. Append-only.",
    [
        _BATCH_ID,
        _SOURCE,
        _ORIGIN,
        _field("symbol", pa.string(), "Ticker.", nullable=False),
        _field("interval", pa.string(), "Length of the bar.", nullable=False),
        _field("ts", UTC_TIMESTAMP, "Session or time of the bar.", nullable=False),
        _field("rule", pa.string(), "Short name of the broken rule.", nullable=False),
        _field("reason", pa.string(), "What looks wrong, in words.", nullable=False),
        _field("flagged_at", UTC_TIMESTAMP, "When the bar was accepted and flagged.", nullable=False),
    ],
    key=("batch_id", "symbol", "interval", "ts", "rule"),
    known_since="flagged_at",
)

RAW_READINGS = _spec(
    "raw/readings",
    "How each file was read: recognised format, columns, order of dates, decimal sign, time zone.",
    [
        _BATCH_ID,
        _ORIGIN,
        _field("reading", pa.string(), "JSON object, see `lake.sources.files.reading.Reading`.", nullable=False),
    ],
    key=("batch_id",),
)

RAW_RESOLUTIONS = _spec(
    "raw/resolutions",
    "Rejected rows that came in later, by a replay. Append-only; a reject without a row here is still open.",
    [
        _field("batch_id", pa.string(), "Batch of the rejected row.", nullable=False),
        _field("row_number", pa.int64(), "Position of the rejected row in that batch.", nullable=False),
        _field("resolved_by", pa.string(), "Batch that brought the row, fixed or as it was.", nullable=False),
        _field("resolved_at", UTC_TIMESTAMP, "When it was brought.", nullable=False),
    ],
    key=("batch_id", "row_number"),
    known_since="resolved_at",
)

RAW_BATCHES = _spec(
    "raw/batches",
    "Ledger: one row a batch, in which received = accepted + unchanged + rejected.",
    [
        _BATCH_ID,
        _SOURCE,
        _ORIGIN,
        _field("raw_table", pa.string(), "Table that the rows were for: raw/bars, raw/news ...", nullable=False),
        _field("payload_hash", pa.string(), "SHA-256 over the payload's rows; null for an interrupted batch."),
        _field("received", pa.int64(), "Rows in the payload.", nullable=False),
        _field("accepted", pa.int64(), "Rows appended to the raw table.", nullable=False),
        _field("unchanged", pa.int64(), "Rows that the lake already knew with the same values.", nullable=False),
        _field("rejected", pa.int64(), "Rows sent to raw/rejects.", nullable=False),
        _field("flagged", pa.int64(), "Accepted rows with an entry in raw/flags.", nullable=False),
        _field("ingested_at", UTC_TIMESTAMP, "When the batch was ingested.", nullable=False),
    ],
    key=("batch_id",),
    known_since="ingested_at",
)

RAW_REQUESTS = _spec(
    "raw/requests",
    "Ranges of bars that backfills have brought in; what is listed here they do not ask for again. Append-only.",
    [
        _field("symbol", pa.string(), "Ticker, upper case.", nullable=False),
        _field("interval", pa.string(), "Length of the bars: 1d, 1h or 1m.", nullable=False),
        _field("range_start", pa.date32(), "First day of the range.", nullable=False),
        _field("range_end", pa.date32(), "Last day of the range.", nullable=False),
        _field("source", pa.string(), "Source that delivered it.", nullable=False),
        _field("rows", pa.int64(), "Bars that it delivered, those that the lake knew included.", nullable=False),
        _field("batch_id", pa.string(), "Ingestion batch of these bars; null where there were none."),
        _field("requested_at", UTC_TIMESTAMP, "When they were brought in.", nullable=False),
    ],
    key=("symbol", "interval", "range_start", "range_end", "requested_at"),
    known_since="requested_at",
)

PREDICTIONS = _spec(
    "forecasts/predictions",
    "Forecasts with intervals for the newest sessions of every symbol with 252 sessions of history: by the champions, "
    "and by challengers that people have let forecast.",
    [
        _field("id", pa.string(), "Hash of the key; identifies a forecast for ever.", nullable=False),
        _field("symbol", pa.string(), "Ticker.", nullable=False),
        _field("target", pa.string(), "return_5d or volatility_5d.", nullable=False),
        _field("horizon", pa.int32(), "Trading days that the forecast looks ahead.", nullable=False),
        _field("as_of", UTC_TIMESTAMP, "Newest session that the forecast knows.", nullable=False),
        _field("last_price", pa.float64(), "Close of that session as delivered.", nullable=False),
        _field(
            "mean",
            pa.float64(),
            "Point forecast: log return, or realised volatility of the horizon.",
            nullable=False,
        ),
        _field("price", pa.float64(), "last_price x exp(mean); returns only."),
        _field(
            "intervals",
            pa.list_(pa.struct([("level", pa.float64()), ("lower", pa.float64()), ("upper", pa.float64())])),
            "Conformal prediction intervals, in the unit of mean.",
            nullable=False,
        ),
        _field(
            "contributions",
            pa.list_(pa.struct([("feature", pa.string()), ("contribution", pa.float64())])),
            "What moves mean away from the forecast of a typical window: the five largest, signed, in its unit; "
            "empty for a model that always says the same, and for what is backfilled.",
            nullable=False,
        ),
        _field("model", pa.string(), "Registered model name.", nullable=False),
        _field("version", pa.string(), "Registered model version.", nullable=False),
        _field("role", pa.string(), "What the version was then: champion or challenger.", nullable=False),
        _field(
            "backfilled",
            pa.bool_(),
            "Made when later sessions of the symbol were there already. The forecast saw none of them, and the model "
            "neither learned from nor was calibrated on its session or a later one.",
            nullable=False,
        ),
        _field(
            "lake_versions",
            pa.string(),
            "JSON object: lake table to the version that was read.",
            nullable=False,
        ),
        _field("mlflow_run_id", pa.string(), "MLflow run that trained the model.", nullable=False),
        _field("dagster_run_id", pa.string(), "Dagster run that made the forecast.", nullable=False),
        _field("created_at", UTC_TIMESTAMP, "When the forecast was made.", nullable=False),
    ],
    key=("symbol", "target", "as_of", "model", "version"),
)

SCORES = _spec(
    "forecasts/scores",
    "Forecasts against what happened, as outcomes become known: error, loss, and which intervals held.",
    [
        _field("id", pa.string(), "The forecast, as in forecasts/predictions.", nullable=False),
        _field("symbol", pa.string(), "Ticker.", nullable=False),
        _field("target", pa.string(), "return_5d or volatility_5d.", nullable=False),
        _field("as_of", UTC_TIMESTAMP, "Newest session that the forecast knew.", nullable=False),
        _field("model", pa.string(), "Registered model name.", nullable=False),
        _field("version", pa.string(), "Registered model version.", nullable=False),
        _field("role", pa.string(), "champion or challenger, when it forecast.", nullable=False),
        _field("backfilled", pa.bool_(), "Made when later sessions were there already.", nullable=False),
        _field("mean", pa.float64(), "Point forecast.", nullable=False),
        _field("outcome", pa.float64(), "What happened over the horizon, in the unit of mean.", nullable=False),
        _field("error", pa.float64(), "outcome - mean.", nullable=False),
        _field("loss", pa.float64(), "Squared error of a return, QLIKE of a volatility.", nullable=False),
        _field("known_at", UTC_TIMESTAMP, "Session at whose close the outcome was known.", nullable=False),
        _field(
            "hits",
            pa.list_(pa.struct([("level", pa.float64()), ("hit", pa.bool_())])),
            "Of each interval, whether the outcome lay inside.",
            nullable=False,
        ),
    ],
    key=("id",),
)

INTERVAL_STATE = _spec(
    "forecasts/interval_state",
    "How far the intervals of each model version have adapted to their hits and misses: its newest state each time.",
    [
        _field("model", pa.string(), "Registered model name.", nullable=False),
        _field("version", pa.string(), "Registered model version.", nullable=False),
        _field("as_of", UTC_TIMESTAMP, "Session at whose close the newest outcome in it was known.", nullable=False),
        _field("symbol", pa.string(), "Ticker; * for what all symbols share.", nullable=False),
        _field("outcomes", pa.int64(), "Outcomes that it was learned from.", nullable=False),
        _field(
            "shifts",
            pa.list_(pa.struct([("level", pa.float64()), ("shift", pa.float64())])),
            "Of each level, what is added to its share of misses; that of the symbol comes on top of that of all.",
            nullable=False,
        ),
        _field("dagster_run_id", pa.string(), "Run that wrote it.", nullable=False),
        _field("created_at", UTC_TIMESTAMP, "When it was written.", nullable=False),
    ],
    key=("model", "version", "as_of", "symbol"),
)

EVALUATION = _spec(
    "models/evaluation",
    "What the forecasts are worth, with 95 % confidence intervals: overall, by year, by symbol and by regime.",
    [
        _field(
            "evidence",
            pa.string(),
            "held_out: the newest training's forecasts of its test period; walk_forward: those of `make evaluate`.",
            nullable=False,
        ),
        _field("target", pa.string(), "return_5d or volatility_5d.", nullable=False),
        _field("model", pa.string(), "Model, or for intervals the method.", nullable=False),
        _field("grouping", pa.string(), "all, year, symbol or regime.", nullable=False),
        _field(
            "group",
            pa.string(),
            "Year, symbol, or the market's volatility when the forecast was made: calm, normal or stressed.",
            nullable=False,
        ),
        _field(
            "metric",
            pa.string(),
            "mse or qlike (mean loss), gain_vs_<model> (share of its loss that is saved), directional_accuracy, "
            "coverage_90, width_90, interval_score_90 ...",
            nullable=False,
        ),
        _field("value", pa.float64(), "Value of the metric.", nullable=False),
        _field(
            "lower", pa.float64(), "Lower end of its 95 % interval (block bootstrap over sessions).", nullable=False
        ),
        _field("upper", pa.float64(), "Upper end.", nullable=False),
        _field("forecasts", pa.int64(), "Forecasts in the group.", nullable=False),
        _field("features_version", pa.int64(), "Version of market/features that was evaluated; null: not recorded."),
        _field("evaluated_at", UTC_TIMESTAMP, "When it was evaluated.", nullable=False),
    ],
    key=("evidence", "target", "model", "grouping", "group", "metric"),
)

DATA_DRIFT = _spec(
    "monitoring/data_drift",
    "Distance of the newest sessions from those before, a row a monitor, with its calibrated threshold.",
    [
        _field("as_of", UTC_TIMESTAMP, "Newest session of the current window.", nullable=False),
        _field("monitor", pa.string(), "Column of market/features that is watched.", nullable=False),
        _field("distance", pa.float64(), "Wasserstein distance between the two windows, scaled.", nullable=False),
        _field(
            "threshold", pa.float64(), "Quantile of that distance between past windows; null while they are too few."
        ),
        _field("drifted", pa.bool_(), "Whether the distance exceeds the threshold.", nullable=False),
        _field("dagster_run_id", pa.string(), "Run that measured it; also the name of its report.", nullable=False),
    ],
    key=("as_of", "monitor"),
)

_TABLE = _field("table", pa.string(), "Lake table that was looked at.", nullable=False)
_OUTCOME = _field("outcome", pa.string(), "done, nothing to do, or why it was skipped.", nullable=False)
_VERSION_AFTER = _field("version", pa.int64(), "Version of the table afterwards.", nullable=False)
_SECONDS = _field("seconds", pa.float64(), "How long it took.", nullable=False)
_DONE_AT = _field("done_at", UTC_TIMESTAMP, "When it was done.", nullable=False)
_UPKEEP_RUN = _field("dagster_run_id", pa.string(), "Run that did it.", nullable=False)

COMPACTION = _spec(
    "upkeep/compaction",
    "Small files written as large ones: what each run has done to each table.",
    [
        _TABLE,
        _OUTCOME,
        _VERSION_AFTER,
        _field("files_before", pa.int64(), "Files of the newest version before.", nullable=False),
        _field("files_after", pa.int64(), "Files of the newest version afterwards.", nullable=False),
        _field("bytes_before", pa.int64(), "Bytes of the newest version before.", nullable=False),
        _field("bytes_after", pa.int64(), "Bytes of the newest version afterwards.", nullable=False),
        _SECONDS,
        _DONE_AT,
        _UPKEEP_RUN,
    ],
    key=("table", "dagster_run_id"),
)

VACUUM = _spec(
    "upkeep/vacuum",
    "Files deleted that no kept version needs: what each run has done to each table, and which versions are left.",
    [
        _TABLE,
        _OUTCOME,
        _VERSION_AFTER,
        _field("files_deleted", pa.int64(), "Files that were deleted.", nullable=False),
        _field("bytes_deleted", pa.int64(), "Their bytes.", nullable=False),
        _field("bytes_stored", pa.int64(), "Bytes of all that is left, the log included.", nullable=False),
        _field("versions_readable", pa.int64(), "Versions that can still be read.", nullable=False),
        _field("versions_pinned", pa.int64(), "Of these, versions that a model or forecast names.", nullable=False),
        _field("pins_lost", pa.int64(), "Versions that one names and that cannot be read.", nullable=False),
        _SECONDS,
        _DONE_AT,
        _UPKEEP_RUN,
    ],
    key=("table", "dagster_run_id"),
)


GARCH = _spec(
    "models/garch",
    "Volatility by a GJR-GARCH with Student-t errors, for every daily bar from its past alone: an input of models.",
    [
        _field("symbol", pa.string(), "Ticker.", nullable=False),
        _field("ts", UTC_TIMESTAMP, "Session at which it was known.", nullable=False),
        _field("garch_vol", pa.float64(), "Volatility per session expected of the next five; null at the first bar."),
        _field("omega", pa.float64(), "Constant of the variance, of returns in percent; this year's.", nullable=False),
        _field("alpha", pa.float64(), "Weight of the last squared return.", nullable=False),
        _field("gamma", pa.float64(), "Weight of it on top where the return was negative.", nullable=False),
        _field("beta", pa.float64(), "Weight of the variance before.", nullable=False),
        _field(
            "estimated_on",
            pa.string(),
            "Hash of the earlier years' returns that the four were estimated on; empty where these were too few, and "
            "the four are RiskMetrics'.",
            nullable=False,
        ),
        _field("year", pa.int32(), "Year of ts; the partition.", nullable=False),
    ],
    key=("symbol", "ts"),
    partition_by=("year",),
)


SEGMENTS = _spec(
    "models/segments",
    "Groups of shares whose returns behave alike, year by year; a label keeps its meaning from one year to the next.",
    [
        _field("year", pa.int32(), "Year whose returns place the share.", nullable=False),
        _field("symbol", pa.string(), "Ticker.", nullable=False),
        _field("segment", pa.int64(), "Label of its segment.", nullable=False),
        _field(
            "silhouette",
            pa.float64(),
            "How well it fits: 1 deep inside its segment, 0 between two, below 0 nearer to another.",
            nullable=False,
        ),
    ],
    key=("year", "symbol"),
)


def evaluation_spec(target: str) -> TableSpec:
    """Table of one target's held-out forecasts; its name is that of the model asset."""
    return _spec(
        f"models/{target}",
        f"Held-out forecasts of {target}: the selected learned model and the baseline beside what happened.",
        [
            _field("symbol", pa.string(), "Ticker.", nullable=False),
            _field("ts", UTC_TIMESTAMP, "Session at which the forecast was made.", nullable=False),
            _field("outcome", pa.float64(), "What happened over the horizon.", nullable=False),
            _field("challenger", pa.float64(), "Forecast of the selected learned model.", nullable=False),
            _field("baseline", pa.float64(), "Forecast of the baseline.", nullable=False),
        ],
        key=("symbol", "ts"),
    )


def decision_spec(target: str) -> TableSpec:
    """Table of the gate's decisions on one target; append-only."""
    return _spec(
        f"models/{target}_champion",
        f"Decisions of the gate on {target}: which version serves, and why.",
        [
            _field("decided_at", UTC_TIMESTAMP, "When the gate decided.", nullable=False),
            _field("champion", pa.string(), "Kind of model that won.", nullable=False),
            _field("version", pa.string(), "Registered version that carries the alias champion.", nullable=False),
            _field("learned", pa.bool_(), "Whether the winner is a learned model.", nullable=False),
            _field("reason", pa.string(), "The decision in words.", nullable=False),
            _field("numbers", pa.string(), "JSON object: the numbers that the decision rests on.", nullable=False),
            _field("dagster_run_id", pa.string(), "Run in which it was decided.", nullable=False),
        ],
        key=("decided_at",),
    )


AUDIT = _spec(
    "models/audit",
    "Every move of the alias champion: from which version to which, by whom and why. Append-only.",
    [
        _field("decided_at", UTC_TIMESTAMP, "When it was decided.", nullable=False),
        _field("model", pa.string(), "Registered model name.", nullable=False),
        _field(
            "action",
            pa.string(),
            "gate, promote or rollback; outside: with other tools, noticed at that time.",
            nullable=False,
        ),
        _field("from_version", pa.string(), "Version that was the champion before; null for the first."),
        _field("to_version", pa.string(), "Version that is the champion since.", nullable=False),
        _field("who", pa.string(), "Person, or the gate with its Dagster run.", nullable=False),
        _field("why", pa.string(), "Their reason; the gate's decision in words.", nullable=False),
    ],
    key=("model", "decided_at"),
)

TABLES: dict[str, TableSpec] = {
    spec.name: spec
    for spec in (
        RAW_BARS,
        RAW_INSTRUMENTS,
        RAW_SESSIONS,
        RAW_CORPORATE_ACTIONS,
        RAW_MACRO,
        RAW_FUNDAMENTALS,
        RAW_NEWS,
        RAW_REJECTS,
        RAW_FLAGS,
        RAW_READINGS,
        RAW_RESOLUTIONS,
        RAW_BATCHES,
        RAW_REQUESTS,
        GARCH,
        SEGMENTS,
        *(make(target) for target in ("return_5d", "volatility_5d") for make in (evaluation_spec, decision_spec)),
        AUDIT,
        EVALUATION,
        PREDICTIONS,
        SCORES,
        INTERVAL_STATE,
        DATA_DRIFT,
        COMPACTION,
        VACUUM,
    )
}
