"""The dbt project on real prices: features as described, causal, documented, guarded, and safe to run again."""

import json
import re
import runpy
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from assets_pkg.resources.dbt import ensure_manifest
from lake.calendars import write_sessions
from lake.column_lineage import column_lineage
from lake.dictionary import TABLES as DESCRIBED
from lake.dictionary import dictionary, incomplete
from lake.ingest import ingest, ingest_source, write_instruments
from lake.settings import Settings
from lake.sources import EMBEDDED
from lake.store import Lake
from lake.tables import TABLES, field_description
from ml.datasets import FEATURES
from tests.processes import dbt

pytestmark = pytest.mark.xdist_group("dbt_project")

PROJECT = Path(__file__).parents[1] / "dbt_project"
PARSED = "partial_parse.msgpack"
MODELS = (
    "market/bars",
    "market/bars_back_adjusted",
    "market/indicators",
    "market/cross_section",
    "market/features",
)
FINDINGS = ("market/calendar_violations", "market/reconciliation", "market/corporate_actions")
# SP500 is the market; IBM and NASDAQ have open, high and low, and IBM's prices are adjusted; WTI has gaps.
SYMBOLS = {"skfolio": ["SP500", "AAPL"], "bokeh": ["IBM", "AAPL"], "arch": ["NASDAQ", "WTI"]}
START, CUT, END = date(2000, 1, 1), date(2002, 1, 31), date(2002, 6, 30)


@dataclass(frozen=True)
class Project:
    """The dbt project on a lake of its own; artefacts go to `target`."""

    home: Path
    target: Path

    @property
    def lake(self) -> Lake:
        return Lake.from_settings(Settings(home=self.home))

    def dbt(self, *arguments: str, fails: bool = False, **environment: str) -> dict[str, Any]:
        """Run dbt as a user would and return its results by node name."""
        self.printed(*arguments, fails=fails, **environment)
        return {result["unique_id"]: result["status"] for result in self.artifact("run_results")["results"]}

    def printed(self, *arguments: str, fails: bool = False, **environment: str) -> str:
        """Run dbt as a user would and return what it prints; whether it `fails` is as expected."""
        if not self.target.exists():  # to parse the whole project takes seconds
            self.target.mkdir(parents=True)
            shutil.copy(ensure_manifest().with_name(PARSED), self.target)
        place = ["--project-dir", PROJECT, "--profiles-dir", PROJECT]
        place += ["--target-path", self.target, "--log-path", self.target]
        done = dbt(*arguments, *place, cwd=PROJECT, **{"LAKEHOUSE_HOME": str(self.home), **environment})
        assert (done.returncode != 0) == fails, done.stdout
        return done.stdout

    def artifact(self, name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.target / f"{name}.json").read_text())
        return content

    def table(self, name: str) -> pd.DataFrame:
        frame: pd.DataFrame = self.lake.read(name).to_pandas()
        return frame.sort_values(["symbol", "ts"], ignore_index=True)

    def state(self) -> dict[str, tuple[int | None, int]]:
        return {name: (self.lake.version(name), self.lake.row_count(name)) for name in (*MODELS, *FINDINGS)}


def project_on_prices(folder: Path, future: float = 1.0) -> Project:
    """A lake of real prices, those after `CUT` multiplied by a growing factor unless `future` is 1."""
    project = Project(folder / "home", folder / "target")
    write_instruments(project.lake)
    for name, symbols in SYMBOLS.items():
        source = EMBEDDED[name]
        if future == 1.0:
            ingest_source(project.lake, source, symbols, start=START, end=END)
            continue
        bars = source.fetch(symbols, START, END)
        days = (bars["ts"] - pd.Timestamp(CUT, tz="UTC")).dt.days.clip(lower=0)
        prices = ["open", "high", "low", "close", "adj_close"]
        bars[prices] = bars[prices].mul(future ** (days / 30), axis=0)
        ingest(project.lake, bars, source.name, source.origin)
    write_sessions(project.lake)
    return project


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, Any]]:
    project = project_on_prices(tmp_path_factory.mktemp("dbt"))
    return project, project.dbt("build")


@pytest.fixture(scope="module")
def project(built: tuple[Project, dict[str, Any]]) -> Project:
    return built[0]


def symbols_of(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for symbol, rows in frame.groupby("symbol"):
        yield str(symbol), rows.reset_index(drop=True)


def test_each_family_of_indicators_has_a_passing_unit_test(built: tuple[Project, dict[str, Any]]) -> None:
    unit_tests = {key.split(".")[-1]: status for key, status in built[1].items() if key.startswith("unit_test.")}
    assert {
        "trend",
        "momentum",
        "bands_and_channels",
        "volatility",
        "volume",
        "returns_and_risk",
    } <= unit_tests.keys()
    assert set(unit_tests.values()) == {"pass"}


def test_every_data_test_passes_on_real_prices(built: tuple[Project, dict[str, Any]]) -> None:
    statuses = [status for key, status in built[1].items() if key.startswith("test.")]
    assert len(statuses) > 30
    assert set(statuses) == {"pass"}
    lake = built[0].lake
    assert {name: lake.read_note(name).get("tested") for name in MODELS} == {
        name: list(lake.snapshot(name) or ()) for name in MODELS
    }


def test_each_series_comes_from_its_preferred_source(project: Project) -> None:
    sources = project.table("market/bars").groupby("symbol")["source"].unique().str.join(",").to_dict()
    assert sources == {"AAPL": "skfolio", "IBM": "bokeh", "NASDAQ": "arch", "SP500": "skfolio", "WTI": "arch"}


def test_the_calendar_of_oil_is_contradicted_where_no_price_was_made(project: Project) -> None:
    violations = project.table("market/calendar_violations")
    days = violations["ts"].dt.strftime("%Y-%m-%d").tolist()
    assert days == ["2000-07-03", "2001-11-23", "2001-12-24"]  # New York's week of 2001-09-11 is none of them
    assert set(violations["symbol"] + " " + violations["finding"]) == {"WTI missing_session"}


def test_adjusted_returns_are_those_of_the_delivered_adjusted_close(project: Project) -> None:
    for _, bars in symbols_of(project.table("market/bars")):
        assert bars["adj_factor"].iloc[0] == 1
        np.testing.assert_allclose(bars["close_adj"].pct_change(), bars["adj_close"].pct_change(), atol=1e-12)


def test_back_adjusted_prices_end_as_traded_and_are_the_sources_own(project: Project) -> None:
    bars = dict(symbols_of(project.table("market/bars")))
    for symbol, back in symbols_of(project.table("market/bars_back_adjusted")):
        own = bars[symbol]
        assert back["close"].iloc[-1] == own["close"].iloc[-1]
        to_traded = own["close"].iloc[-1] / own["adj_close"].iloc[-1]
        np.testing.assert_allclose(back["close"], own["adj_close"] * to_traded, rtol=1e-12)


def test_dividends_of_ibm_and_the_split_of_apple_are_what_was_paid(project: Project) -> None:
    actions = project.table("market/corporate_actions")
    found = [(str(row.ts.date()), row.kind, row.value) for row in actions[actions["symbol"] == "IBM"].itertuples()]
    # From IBM's investor relations: 13 cents from May 2000, 14 from May 2001, 15 from May 2002.
    days = ("2000-05-08", "2000-08-08", "2000-11-08", "2001-02-07")
    days += ("2001-05-08", "2001-08-08", "2001-11-07", "2002-02-06", "2002-05-08")
    assert found == [(day, "dividend", paid) for day, paid in zip(days, [0.13] * 4 + [0.14] * 4 + [0.15], strict=True)]
    apple = actions[actions["symbol"] == "AAPL"].to_dict("records")
    assert [(str(row["ts"].date()), row["kind"], row["value"]) for row in apple] == [("2000-06-21", "split", 2.0)]
    assert set(actions["source"]) == {"bokeh"}  # the prices of Apple come from skfolio


def reference_features(bars: pd.DataFrame, indicators: pd.DataFrame) -> pd.DataFrame:
    """The features of one symbol in pandas, without those of the market."""
    close, ewma = bars["close_adj"], indicators["ewma_vol"]
    returns = {n: np.log(close / close.shift(n)) for n in (1, 5, 20)}
    columns = {f"log_return_{n}": values for n, values in returns.items()}
    columns |= {f"scaled_return_{n}": values / ewma / np.sqrt(n) for n, values in returns.items()}
    columns["log_ewma_vol"] = np.log(ewma)
    columns |= {f"log_vol_{n}": 0.5 * np.log((returns[1] ** 2).rolling(n).mean()) for n in (5, 20, 60)}
    columns["rsi_14_centered"] = indicators["rsi_14"] / 100 - 0.5
    columns["macd_hist_scaled"] = indicators["macd_hist"] / close / ewma
    mean, deviation = close.rolling(20).mean(), close.rolling(20).std(ddof=0)
    columns["bb_percent_b_20"] = (close - mean + 2 * deviation) / (4 * deviation)
    columns["bb_bandwidth_20"] = 4 * deviation / mean
    columns |= {f"close_to_sma_{n}": np.log(close / close.rolling(n).mean()) for n in (20, 50, 200)}
    columns["drawdown_252"] = np.log(close / close.rolling(252).max())
    return pd.DataFrame(columns)


def test_features_are_what_their_columns_say(project: Project) -> None:
    bars, indicators = (dict(symbols_of(project.table(f"market/{name}"))) for name in ("bars", "indicators"))
    for symbol, rows in symbols_of(project.table("market/features")):
        expected = reference_features(bars[symbol], indicators[symbol])
        assert list(FEATURES[: len(expected.columns)]) == list(expected.columns)
        for name in expected:
            np.testing.assert_allclose(rows[name], expected[name], rtol=1e-7, atol=1e-9, err_msg=f"{name} of {symbol}")


def test_a_number_is_finite_or_null(project: Project) -> None:
    for name in DESCRIBED:
        table = project.lake.read(name)
        numbers = [column.name for column in table.schema if pa.types.is_floating(column.type)]
        finite = {column: pc.all(pc.is_finite(table[column])).as_py() for column in numbers}
        assert [column for column in numbers if finite[column] is False] == [], name


def test_the_market_is_the_index_at_its_latest_session(project: Project) -> None:
    features = project.table("market/features").sort_values("ts")
    names = ["scaled_return_1", "scaled_return_5", "log_ewma_vol", "log_vol_20"]
    index = features.loc[features["symbol"] == "SP500", ["ts", *names]]
    expected = pd.merge_asof(features[["symbol", "ts"]], index, on="ts")
    for name in names:
        np.testing.assert_array_equal(features[f"market_{name}"], expected[name])


def test_another_future_leaves_every_past_row_as_it_was(project: Project, tmp_path: Path) -> None:
    other = project_on_prices(tmp_path, future=1.5)
    other.dbt("run")

    def past(it: Project, name: str) -> pd.DataFrame:
        table = it.table(name)
        return table[table["ts"] <= pd.Timestamp(CUT, tz="UTC")].drop(
            columns=["batch_id", "ingested_at"], errors="ignore"
        )

    for name in MODELS:
        pd.testing.assert_frame_equal(past(project, name), past(other, name), rtol=1e-12, atol=1e-14)
    recursive = ["ema_12", "rsi_14", "macd_signal", "atr_14", "ewma_vol"]
    ours, theirs = (past(it, "market/indicators")[recursive] for it in (project, other))
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    assert not project.table("market/bars")["close"].equals(other.table("market/bars")["close"])


def test_running_again_writes_nothing_new_wherever_it_runs(project: Project) -> None:
    before = project.state()
    project.dbt("run", TZ="Asia/Tokyo")
    assert project.state() == before


def test_a_dry_run_on_empty_inputs_leaves_the_lake_alone(project: Project) -> None:
    before = project.state()
    project.dbt("run", "--empty")
    assert project.state() == before


def test_a_correction_rewrites_only_what_follows_from_it(project: Project, tmp_path: Path) -> None:
    copy = Project(tmp_path / "home", tmp_path / "target")
    shutil.copytree(project.home, copy.home)
    day = date(2001, 6, 15)
    bars = EMBEDDED["skfolio"].fetch(["AAPL"], day, day)
    ingest(copy.lake, bars.assign(close=bars["close"] * 1.01, adj_close=bars["adj_close"] * 1.01), "skfolio", "fix")
    files = {name: set(DeltaTable(copy.lake.path(name)).file_uris()) for name in MODELS}
    copy.dbt("run")
    before, after = project.state(), copy.state()
    assert {name: after[name] for name in MODELS} == {
        name: ((before[name][0] or 0) + 1, before[name][1]) for name in MODELS
    }
    for same in ("market/calendar_violations", "market/corporate_actions"):
        assert after[same] == before[same]
    new_findings = (
        copy.table("market/reconciliation")
        .merge(project.table("market/reconciliation"), how="left", indicator=True)
        .query("_merge == 'left_only'")
    )
    assert set(new_findings["ts"].dt.date) == {day, date(2001, 6, 18)}  # bokeh has it too, and does not agree any more
    results = copy.artifact("run_results")["results"]
    written = {
        result["unique_id"].split(".")[-1]: result["adapter_response"]["rows_affected"]
        for result in results
        if result["unique_id"].startswith("model.")
    }
    assert written["bars"] == 1
    for name in MODELS:
        kept = files[name] & set(DeltaTable(copy.lake.path(name)).file_uris())
        assert any("year=2000" in path for path in kept)
        assert not any("year=2001" in path for path in kept)
        old, new = project.table(name), copy.table(name)
        numbers = new.select_dtypes("number").columns
        same = np.isclose(old[numbers], new[numbers], rtol=1e-12, atol=1e-14, equal_nan=True).all(axis=1)
        changed = new[~same]
        assert changed["ts"].min() >= pd.Timestamp(day, tz="UTC")
        if name in ("market/cross_section", "market/features"):  # others are ranked against it, by 20 bars and less
            others = changed[changed["symbol"] != "AAPL"]
            assert others["ts"].max() < pd.Timestamp(day, tz="UTC") + pd.Timedelta(days=31)
            assert len(changed) <= written[name.removeprefix("market/")]
        else:
            assert set(changed["symbol"]) == {"AAPL"}
            assert changed["ts"].min() == pd.Timestamp(day, tz="UTC")
            assert len(changed) == written[name.removeprefix("market/")]


def test_it_builds_on_a_lake_without_any_bars(tmp_path: Path) -> None:
    empty = Project(tmp_path / "home", tmp_path / "target")
    empty.dbt("run")
    assert {name: rows for name, (_, rows) in empty.state().items()} == dict.fromkeys((*MODELS, *FINDINGS), 0)


def test_the_catalogue_is_one_page_with_the_types_of_all_columns(project: Project) -> None:
    project.dbt("docs", "generate", "--static", "--no-compile")
    page = (project.target / "static_index.html").read_text()
    catalog = project.artifact("catalog")
    types = {name: column["type"] for name, column in catalog["nodes"]["model.lakehouse.features"]["columns"].items()}
    assert types["ts"] == "TIMESTAMP WITH TIME ZONE"
    assert [types[name] for name in FEATURES] == ["DOUBLE"] * len(FEATURES)
    assert "Catalogue of the asset lakehouse" in page
    assert not re.search(r"<(script|link)[^>]+(src|href)=.?https?://", page)


def test_every_model_and_column_is_described(project: Project) -> None:
    manifest = project.artifact("manifest")
    nodes = [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]
    missing = [
        f"{node['name']}.{name}"
        for node in (*nodes, *manifest["sources"].values(), *manifest["exposures"].values())
        for name, text in {
            "": node["description"],
            **{column["name"]: column["description"] for column in node.get("columns", {}).values()},
        }.items()
        if not text
    ]
    assert missing == []
    for table in (*MODELS, *FINDINGS):
        documented = manifest["nodes"][f"model.lakehouse.{table.removeprefix('market/')}"]["columns"]
        assert set(documented) == set(project.lake.read(table).column_names)


def test_sources_are_described_in_the_words_of_their_tables(project: Project) -> None:
    for source in project.artifact("manifest")["sources"].values():
        spec = TABLES[f"raw/{source['name']}"]
        described = {name: column["description"] for name, column in source["columns"].items()}
        assert described == {field.name: field_description(field) for field in spec.schema}
        assert source["description"] == spec.description


def test_the_features_of_the_models_stand_in_their_order(project: Project) -> None:
    columns = project.lake.read("market/features").column_names
    first = columns.index(FEATURES[0])
    assert tuple(columns[first : first + len(FEATURES)]) == tuple(FEATURES)


def test_whoever_rests_on_a_table_is_named_with_an_address_and_an_owner(project: Project) -> None:
    exposures = project.artifact("manifest")["exposures"]
    readers = {it["name"]: {node.split(".")[-1] for node in it["depends_on"]["nodes"]} for it in exposures.values()}
    on_features = {"prediction_api", "return_5d", "volatility_5d", "data_drift"}
    assert {name for name, tables in readers.items() if "features" in tables} == on_features
    assert readers["data_quality"] == {"calendar_violations", "corporate_actions", "reconciliation"}
    assert all(it["url"] and it["owner"]["name"] and it["maturity"] == "high" for it in exposures.values())


def test_every_public_model_has_a_contract_and_an_owner(project: Project) -> None:
    manifest = project.artifact("manifest")
    models = [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]
    owned = {group["name"] for group in manifest["groups"].values() if group["owner"]["name"]}
    assert {model["group"] for model in models} <= owned
    public = {f"{model['schema']}/{model['name']}": model for model in models if model["access"] == "public"}
    assert set(public) == {*MODELS, *FINDINGS}
    assert all(model["contract"]["enforced"] and model["contract"]["checksum"] for model in public.values())


@pytest.mark.parametrize(
    ("selector", "tables"),
    [("new_bar", {*MODELS, *FINDINGS}), ("indicators", {*MODELS} - {"market/bars_back_adjusted"})],
)
def test_selectors_name_what_people_want_to_run(project: Project, selector: str, tables: set[str]) -> None:
    listed = project.printed("--quiet", "ls", "--selector", selector, "--resource-type", "model").splitlines()
    assert {f"market/{name.split('.')[-1]}" for name in listed if ".market." in name} == tables


def spoil(lake: Lake, table: str, change: str) -> None:
    """Rewrite a whole table of the lake as SQL over `rows` says, behind the back of dbt."""
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        rows = lake.read(table)  # noqa: F841, read by the SQL
        lake.replace(
            table, connection.sql(change).to_arrow_table(), None, ["year"] if table != "raw/instruments" else []
        )


def test_each_generic_test_finds_what_it_is_there_for(project: Project, tmp_path: Path) -> None:
    spoiled = Project(tmp_path / "home", tmp_path / "target")
    shutil.copytree(project.home, spoiled.home)
    shutil.copytree(project.target, spoiled.target)
    a_day = "symbol = 'IBM' and ts = timestamptz '2002-03-04'"
    spoil(
        spoiled.lake,
        "market/indicators",
        f"""
        select * replace (
            if(symbol = 'IBM', null, atr_14) as atr_14, -- null_only_in_warmup: where high and low are there
            if({a_day}, 101, rsi_14) as rsi_14, -- accepted_range
            if({a_day}, bb_upper_20 + 1, bb_lower_20) as bb_lower_20, -- holds
            if({a_day}, bar_number + 1, bar_number) as bar_number -- monotonic_time
        ) from rows
        where ts <> timestamptz '2002-06-10' -- row_count
        """,
    )
    spoil(
        spoiled.lake,
        "market/bars",
        f"""
        select * replace (if({a_day}, null, close_adj) as close_adj) from rows -- never_null
        union all select * from rows where {a_day} -- unique_key
        union all select * replace (ts + interval 12 hours as ts) from rows where {a_day} -- monotonic_time
        """,
    )
    spoil(  # proportional_to_adj_close
        spoiled.lake, "market/bars_back_adjusted", f"select * replace (if({a_day}, 1, close) as close) from rows"
    )
    spoil(spoiled.lake, "raw/instruments", "select * replace (null::timestamptz as ends_at) from rows")  # fresh
    failed = {
        name.split(".")[2]
        for name, status in spoiled.dbt("test", "--selector", "guards", fails=True).items()
        if status != "pass"
    }
    assert failed >= {
        "indicators_null_only_in_warmup",
        "indicators_are_in_range",
        "indicators_make_sense",
        "indicators_are_numbered_in_order",
        "indicators_one_row_per_bar",
        "bars_are_complete",
        "bars_one_row_per_session",
        "bars_do_not_overlap",
        "bars_back_adjusted_agree_with_adj_close",
        "bars_of_live_sources_are_fresh",
    }
    spoiled.printed("source", "freshness", fails=True)
    freshness = {it["unique_id"].split(".")[-1]: it["status"] for it in spoiled.artifact("sources")["results"]}
    assert freshness == {"bars": "error", "macro": "pass", "news": "pass"}


def test_the_how_to_for_a_new_indicator_is_right_to_the_letter(project: Project, tmp_path: Path) -> None:
    page = (PROJECT.parent / "docs" / "indicators.md").read_text()
    how_to = page[page.index("## Add an indicator") : page.index("## Ask dbt")]
    shutil.copytree(PROJECT, tmp_path / PROJECT.name, ignore=shutil.ignore_patterns("target", "logs"))
    shutil.copytree(project.home, tmp_path / "home")
    (tmp_path / PROJECT.name / "target").mkdir()
    shutil.copy(project.target / PARSED, tmp_path / PROJECT.name / "target")
    (tmp_path / "tests").mkdir()
    shutil.copy(PROJECT.parent / "tests" / "test_indicators.py", tmp_path / "tests")
    block_of_a_file = r"`((?:dbt_project|tests)/[\w/.]+)`[^`]*(?:`[^`\n]+`[^`]*)*?```diff\n(.*?)```"
    for file, block in re.findall(block_of_a_file, how_to, re.DOTALL):
        before = "".join(f"{line[1:]}\n" for line in block.splitlines() if line[0] == " ")
        after = "".join(f"{line[1:]}\n" for line in block.splitlines())
        text = (tmp_path / file).read_text()
        assert text.count(before) == 1, file
        (tmp_path / file).write_text(text.replace(before, after))
    (command,) = re.findall(r"```\n\.venv/bin/dbt (.*?)\n```", how_to)
    done = dbt(*command.split(), cwd=tmp_path, LAKEHOUSE_HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stdout
    built = Project(tmp_path / "home", tmp_path / PROJECT.name / "target")
    references = runpy.run_path(str(tmp_path / "tests" / "test_indicators.py"))
    bars = dict(symbols_of(built.table("market/bars")))
    for symbol, rows in symbols_of(built.table("market/indicators")):
        adjusted = bars[symbol].assign(**{price: bars[symbol][f"{price}_adj"] for price in references["PRICES"]})
        expected = references["of_talib"](adjusted)["sma_30"]
        assert references["error"](rows["sma_30"].to_numpy(), expected) <= 1e-9, symbol
    entries = dictionary(built.artifact("manifest"))
    assert [it["formula"] for it in entries if it["column"] == "sma_30"] == ["mean of the last 30 closes"]
    assert incomplete(entries) == []
    guard = "test.lakehouse.indicators_null_only_in_warmup"
    (checked,) = (it for it in built.artifact("run_results")["results"] if it["unique_id"].startswith(guard))
    assert checked["status"] == "pass"
    assert "bar_number >= 30" in checked["compiled_code"]


def test_every_indicator_and_feature_has_a_complete_entry_in_the_dictionary(project: Project) -> None:
    assert incomplete(dictionary(project.artifact("manifest"))) == []


def test_a_column_knows_the_columns_that_it_comes_from(project: Project) -> None:
    manifest = project.artifact("manifest")
    models = [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]
    tables = {f"{it['schema']}/{it['name']}": list(it["columns"]) for it in (*models, *manifest["sources"].values())}
    found = {}
    for name in (*MODELS, *FINDINGS):
        compiled = project.target / "compiled" / "lakehouse" / "models" / f"{name}.sql"
        found[name] = column_lineage(compiled.read_text(), tables)
        assert set(found[name]) == set(tables[name])
    indicators = found["market/indicators"]
    assert indicators["rsi_14"] == indicators["ema_200"] == [("market/bars", "close_adj")]
    assert indicators["obv"] == [("market/bars", "close_adj"), ("market/bars", "volume")]
    assert indicators["atr_14"] == [("market/bars", f"{price}_adj") for price in ("close", "high", "low")]
    assert found["market/bars"]["adj_factor"] == [("raw/bars", "adj_close"), ("raw/bars", "close")]
    assert ("market/indicators", "rsi_14") in found["market/features"]["rsi_14_centered"]


def test_sources_that_have_ended_by_declaration_are_fresh(project: Project) -> None:
    project.printed("source", "freshness")
    freshness = {it["unique_id"].split(".")[-1]: it["status"] for it in project.artifact("sources")["results"]}
    assert freshness == {"bars": "pass", "macro": "pass", "news": "pass"}
