"""Evidence: where a forecast comes from, followed back link by link to the raw rows, and verified on the way."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from deltalake.exceptions import DeltaError

from lake.duck import literal
from lake.ids import batch_id, forecast_id
from lake.store import Lake

DAGSTER_RUN = "DBT_ENV_CUSTOM_ENV_DAGSTER_RUN_ID"
"""Environment variable with the id of the Dagster run; dbt writes what is named so into its own artifacts, too."""

PREDICTIONS, BARS, BATCHES = "forecasts/predictions", "raw/bars", "raw/batches"
_SHOWN_BARS = 10
_MOST_REPEATS = 100  # of a payload
_SAME = 1e-5  # largest relative difference of a forecast that is computed again


class UnknownForecastError(KeyError):
    """No forecast of the lake has this id."""


@dataclass(frozen=True)
class RegisteredVersion:
    """What the model registry says of a version."""

    name: str
    version: str
    run_id: str | None
    created_at: datetime
    tags: Mapping[str, str]


@dataclass
class Link:
    """One link of the chain: facts by name, rows beneath, what was verified, and what does not fit or is gone."""

    title: str
    facts: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    verified: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def check(self, holds: bool, verified: str, broken: str) -> None:
        """Note the one or the other."""
        (self.verified if holds else self.broken).append(verified if holds else broken)


def find_forecast(lake: Lake, id: str) -> dict[str, Any]:
    """The row of a forecast, times as text. Raises `UnknownForecastError`."""
    sql = f"""
        select
            id, symbol, target, horizon, arrow_cast(as_of, 'Utf8') as as_of, last_price, mean, price, intervals,
            contributions, model, version, lake_versions, mlflow_run_id, dagster_run_id,
            arrow_cast(created_at, 'Utf8') as created_at
        from rows
        where id = {literal(id)}
    """
    found = lake.select(PREDICTIONS, sql) if lake.exists(PREDICTIONS) else []
    if not found:
        raise UnknownForecastError(f"no forecast has the id {id}")
    return found[0]


def trace(lake: Lake, id: str, version: RegisteredVersion | None, onnx: bytes | None = None) -> dict[str, Any]:
    """The chain behind a forecast as one JSON document; a link that is broken is named in it, not raised.

    Parameters
    ----------
    version : the model version that made it, see :func:`find_forecast`; None where the registry has it no more.
    onnx : its file; without it, neither its digest nor the forecast itself is verified.

    Returns
    -------
    `forecast`: its row. `links`: from the forecast to the raw rows, each as :class:`Link`. `broken`: what is wrong in
    any of them; empty where the chain holds.

    Raises
    ------
    UnknownForecastError
    """
    forecast = find_forecast(lake, id)
    forecast["lake_versions"] = json.loads(forecast["lake_versions"])
    links = [_made(lake, forecast), _model(forecast, version, onnx)]
    inputs: dict[str, list[float]] = {}
    for table, number in forecast["lake_versions"].items():
        links.append(link := Link(f"Inputs: {table}, version {number}"))
        try:
            inputs |= _check_inputs(link, _given(lake, table, number, forecast, version), forecast)
        except (DeltaError, OSError) as error:
            link.broken.append(f"this version cannot be read any more ({str(error).splitlines()[0][:200]})")
        if not table.startswith("market/"):
            continue
        builds, raw = _builds(lake, table, number)
        links += builds
        if BARS in raw:
            links += _raw(lake, forecast, raw[BARS])
    if version and onnx is not None:
        _check_mean(links[1], inputs, forecast, version, onnx)
    broken = [f"{link.title}: {problem}" for link in links for problem in link.broken]
    return {"forecast": forecast, "links": [asdict(link) for link in links], "broken": broken}


def _made(lake: Lake, forecast: Mapping[str, Any]) -> Link:
    """The commit that wrote the forecast."""
    link = Link("Forecast", {name: forecast[name] for name in ("created_at", "dagster_run_id")})
    as_of = datetime.fromisoformat(forecast["as_of"])
    own = forecast_id(forecast["symbol"], forecast["target"], as_of, forecast["model"], forecast["version"])
    link.check(own == forecast["id"], "the id is the hash of the key", f"its key has the id {own}")
    run = forecast["dagster_run_id"]
    commit = next((c for c in lake.history(PREDICTIONS) if c.get("dagster_run_id") == run), None)
    link.check(
        commit is not None,
        f"a commit of {PREDICTIONS} is by the same Dagster run",
        f"no commit of {PREDICTIONS} is by Dagster run {run}",
    )
    return link


def _model(forecast: Mapping[str, Any], version: RegisteredVersion | None, onnx: bytes | None) -> Link:
    if version is None:
        missing = "the registry does not have this version any more"
        return Link(f"Model {forecast['model']}, version {forecast['version']}", broken=[missing])
    tags = version.tags
    link = Link(
        f"Model {version.name}, version {version.version}",
        {
            "mlflow_run_id": version.run_id,
            "registered_at": version.created_at.isoformat(),
            "kind": tags.get("model"),
            "code_commit": tags.get("code_version"),
            "trained_on": json.loads(tags.get("lake_versions", "{}")),
            "digest": tags.get("digest"),
        },
    )
    link.check(
        (version.name, version.version) == (forecast["model"], forecast["version"]),
        "the registry has the version that the forecast names",
        f"the forecast names {forecast['model']} version {forecast['version']}",
    )
    link.check(
        version.run_id == forecast["mlflow_run_id"],
        "the MLflow run is the one that the forecast names",
        f"the forecast names MLflow run {forecast['mlflow_run_id']}",
    )
    if onnx is not None:
        digest = hashlib.sha256(onnx + b"\0" + tags.get("lake_versions", "").encode()).hexdigest()
        link.check(
            digest == tags.get("digest"),
            "the digest is that of the model's file and the versions it was trained on",
            f"the model's file has the digest {digest}: it is not the one that was registered",
        )
    return link


def _given(
    lake: Lake, table: str, number: int, forecast: Mapping[str, Any], version: RegisteredVersion | None
) -> list[dict[str, Any]]:
    """What a table gave the model, the newest session first: `session`, `last_price` where it has it, and inputs."""
    tags, columns = version.tags if version else {}, lake.columns(table)
    names = [name for name in ("last_price", *json.loads(tags.get("features", "[]"))) if name in columns]
    daily = """and "interval" = '1d'""" if "interval" in columns else ""
    return lake.select(
        table,
        f"""
        select {", ".join(["arrow_cast(ts, 'Utf8') as session", *(f'"{name}"' for name in names)])}
        from rows
        where symbol = {literal(forecast["symbol"])} {daily} and ts <= {_time(forecast["as_of"])}
        order by ts desc
        limit {tags.get("lookback", "1")}
        """,
        number,
    )


def _check_inputs(link: Link, rows: list[dict[str, Any]], forecast: Mapping[str, Any]) -> dict[str, list[float]]:
    """Compare what a table gave the model with the forecast; its inputs, each from the oldest session to the newest."""
    if not rows or datetime.fromisoformat(rows[0]["session"]) != datetime.fromisoformat(forecast["as_of"]):
        link.broken.append(f"it has no row of {forecast['symbol']} as of {forecast['as_of']}")
        return {}
    inputs = {name: [row[name] for row in rows[::-1]] for name in rows[0] if name != "session"}
    link.facts = {"sessions": len(rows), "first_session": rows[-1]["session"]}
    if prices := inputs.pop("last_price", None):
        link.check(
            prices[-1] == forecast["last_price"],
            "its last price is that of the forecast",
            f"its last price is {prices[-1]}, that of the forecast {forecast['last_price']}",
        )
    link.facts["inputs"] = list(inputs)
    return inputs


def _check_mean(
    link: Link,
    inputs: Mapping[str, Sequence[float]],
    forecast: Mapping[str, Any],
    version: RegisteredVersion,
    onnx: bytes,
) -> None:
    """Compare the forecast with what the model says of its inputs now."""
    names = json.loads(version.tags["features"])
    if not inputs.keys() >= set(names):
        return  # what is missing is named where it was looked for
    mean = _answer(onnx, np.array([inputs[name] for name in names], np.float32).T)
    link.check(
        abs(mean - forecast["mean"]) <= _SAME * abs(forecast["mean"]),
        "the model says the same of its inputs again",
        f"of its inputs the model says {mean}, and the forecast is {forecast['mean']}",
    )


def _answer(onnx: bytes, window: np.ndarray[Any, np.dtype[np.float32]]) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    return float(session.run(["mean"], {"window": window[None]})[0].reshape(-1)[0])


def _builds(lake: Lake, table: str, number: int) -> tuple[list[Link], dict[str, int]]:
    """The dbt builds behind a version of a table, and the versions of raw tables that they began from."""
    raw: dict[str, int] = {}
    links: dict[str, Link] = {}
    waiting = [(table, number)]
    while waiting:
        table, number = waiting.pop(0)
        if table in links or table in raw:
            continue
        if table.startswith("raw/"):
            raw[table] = number
            continue
        links[table] = link = Link(f"Build of {table}, version {number}")
        commits = (c for c in lake.history(table) if c["version"] <= number and "built_from" in c)
        commit = next(commits, None) if lake.exists(table) else None
        if commit is None:
            link.broken.append("no commit says what it was built from")
            continue
        built_from = json.loads(commit["built_from"])
        upstreams = {name: snapshot[1] for name, snapshot in built_from["upstreams"].items()}
        link.facts = {
            "committed_at": datetime.fromtimestamp(commit["timestamp"] / 1000, UTC).isoformat(),
            "dbt_invocation_id": commit.get("dbt_invocation_id"),
            "dagster_run_id": commit.get("dagster_run_id"),
            "fingerprint": built_from["fingerprint"],
            "built_from": upstreams,
        }
        link.check(
            bool(commit.get("dbt_invocation_id")), "the commit names its dbt invocation", "no dbt invocation is named"
        )
        for name, (id, _) in built_from["upstreams"].items():
            now = lake.snapshot(name)
            if now is None or now.id != id:
                link.broken.append(f"{name} is another table now than the one it was built from")
        waiting += upstreams.items()
    return list(links.values()), raw


def _raw(lake: Lake, forecast: Mapping[str, Any], number: int) -> Iterator[Link]:
    """The raw bars of the symbol that were known at a version of raw/bars, and the batches that brought them.

    The table is append-only, so its newest version holds them still, even where vacuum has deleted the older ones.
    """
    link = Link(f"Raw bars: {BARS}, version {number}")
    commits = [commit for commit in lake.history(BARS) if commit["version"] <= number]
    batches = sorted({commit["batch_id"] for commit in commits if "batch_id" in commit})
    mine = f"""symbol = {literal(forecast["symbol"])} and "interval" = '1d' and ts <= {_time(forecast["as_of"])}"""
    known = _among(batches)
    link.facts = {"batches_in_it": len(batches)}
    link.rows = lake.select(
        BARS,
        f"""
        select
            arrow_cast(ts, 'Utf8') as ts, close, adj_close, source, batch_id,
            arrow_cast(ingested_at, 'Utf8') as ingested_at
        from rows
        where {mine} and {known}
        order by ts desc, ingested_at desc
        limit {_SHOWN_BARS}
        """,
    )
    as_of = datetime.fromisoformat(forecast["as_of"])
    newest = [row for row in link.rows if datetime.fromisoformat(row["ts"]) == as_of]
    link.check(
        any(row["close"] == forecast["last_price"] for row in newest),
        "the newest close is the last price of the forecast",
        f"no bar of {forecast['as_of'][:10]} that was known then closes at {forecast['last_price']}",
    )
    yield link

    brought = Link(f"Batches that brought bars of {forecast['symbol']}")
    counts = lake.select(BARS, f"select batch_id, count(*) as bars from rows where {mine} and {known} group by 1")
    of_symbol = {row["batch_id"]: row["bars"] for row in counts}
    chosen = _among(sorted(of_symbol))
    totals = lake.select(BARS, f"select batch_id, count(*) as bars from rows where {chosen} group by 1")
    in_all = {row["batch_id"]: row["bars"] for row in totals}
    ledger = lake.select(
        BATCHES,
        f"""
        select batch_id, source, origin, payload_hash, accepted, arrow_cast(ingested_at, 'Utf8') as ingested_at
        from rows
        where {chosen}
        order by ingested_at
        """,
    )
    for entry in ledger:
        id, hash = entry["batch_id"], entry["payload_hash"]
        brought.rows.append({"bars of the symbol": of_symbol[id], **entry})
        brought.check(
            in_all[id] == entry["accepted"],
            f"{id}: the lake has the {entry['accepted']} bars of its ledger entry",
            f"{id}: the ledger says {entry['accepted']} bars, and the lake has {in_all[id]}",
        )
        if hash is None:
            brought.broken.append(f"{id}: it was interrupted, and its payload has no hash")
        else:
            brought.check(
                any(id == batch_id(entry["source"], BARS, hash, before) for before in range(_MOST_REPEATS)),
                f"{id}: its id is the hash of source, table and payload",
                f"{id}: its id does not follow from the payload hash {hash}",
            )
    for id in of_symbol.keys() - {entry["batch_id"] for entry in ledger}:
        brought.broken.append(f"{id}: it is not in the ledger")
    yield brought


def _among(batches: Sequence[str]) -> str:
    return f"batch_id in ({', '.join(map(literal, batches))})" if batches else "false"


def _time(text: str) -> str:
    """A time as delta-rs compares it with a column of times."""
    return f"arrow_cast({literal(text)}, 'Timestamp(Microsecond, Some(\"UTC\"))')"
