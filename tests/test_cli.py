"""The command `lakehouse` as a person meets it: what it prints, and what it says when something is wrong."""

import re
from pathlib import Path

import pytest

from assets_pkg.home import HomeError, prepare
from lake.settings import Settings
from tests.graph_kit import UNIVERSE, Built, Home

CLOSES = "date,close\n2022-01-03,5\n2022-01-04,5.1\n"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty home."""
    return Home(tmp_path / "home")


def complaint(home: Home, *arguments: str, code: int = 1, **variables: str) -> str:
    """What a command that must fail writes to stderr: no traceback, and no success on the other channel."""
    done = home.run(*arguments, **variables)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()
    return done.stderr.strip()


def test_help_names_every_verb(home: Home) -> None:
    done = home.run("--help")
    assert done.returncode == 0
    for verb in ("up", "materialize", "ingest", "query", "status"):
        assert f" {verb} " in done.stdout
    assert not home.path.exists()


def test_an_empty_lake_says_what_fills_it(home: Home) -> None:
    done = home.run("status")
    assert (done.returncode, done.stdout) == (
        0,
        f"The lake {home.settings.lake_uri} is empty: `lakehouse materialize` fills it.\n",
    )


@pytest.mark.slow
def test_status_shows_every_table_and_the_champions(built: Built) -> None:
    done = built.home.run("status")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    rows = {line.split()[0]: re.split(r"  +", line)[1:] for line in lines[2:] if "/" in line.split()[0]}
    lake = built.home.lake
    assert set(rows) == set(lake.tables())
    count, size, stored, version, readable, newest, pinned = rows["market/features"]
    assert (count, version, readable) == (f"{lake.row_count('market/features'):,}", "0", "1")
    assert (newest, pinned) == ("2022-12-28", "0")
    assert re.fullmatch(r"\d(\.\d)? MB", size)
    assert re.fullmatch(r"\d(\.\d)? MB", stored)
    for target in ("return_5d", "volatility_5d"):
        assert f"champion of {target}: version " in done.stdout


@pytest.mark.slow
def test_query_reads_tables_by_their_names(built: Built) -> None:
    done = built.home.run("query", "select symbol, count(*) as sessions from market.bars group by 1 order by 1")
    assert done.returncode == 0, done.stderr
    for symbol in UNIVERSE:
        assert symbol in done.stdout


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("selec 1", "Parser Error: syntax error"),
        ("select * from market.nothing", "does not exist"),
        ("select 1/", "Parser Error"),
    ],
)
def test_wrong_sql_is_told_in_the_words_of_duckdb(home: Home, sql: str, words: str) -> None:
    said = complaint(home, "query", sql)
    assert said.startswith("lakehouse: ")
    assert words in said


def test_files_are_ingested_with_their_ledger_and_reasons(home: Home, tmp_path: Path) -> None:
    good, bad = tmp_path / "NEWCO.csv", tmp_path / "bad.csv"
    good.write_text(CLOSES + "2022-01-05,x\n2022-01-06,2.55\n")
    bad.write_text("when,price\n1,2\n")
    done = home.run("ingest", str(bad), str(good))
    assert done.returncode == 1
    assert done.stderr.startswith("bad.csv: column 'ts' is missing")
    assert done.stdout.splitlines() == [
        "NEWCO.csv: 4 received = 3 accepted + 0 unchanged + 1 rejected",
        "  row 3: close 'x' cannot be read",
        "  flagged NEWCO 2022-01-06 00:00: unadjusted_split: adj_close 2.55 after 5.1, and close alike: "
        "an unadjusted 2:1 split?",
        "While `lakehouse up` serves, the graph follows by itself; else: lakehouse materialize",
    ]
    good.write_text(CLOSES)
    again = home.run("ingest", str(good))
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout == "NEWCO.csv: all 2 rows are known: nothing was added\n"
    assert home.lake.row_count("raw/bars") == 3
    assert good.exists()
    listed = home.run("rejects", "list").stdout
    assert "bad.csv: column 'ts' is missing" in listed
    rejects = home.lake.read("raw/rejects").to_pylist()
    assert [row["original"] for row in rejects if row["origin"] == "bad.csv"] == ["when,price\n1,2\n"]


def test_a_file_that_is_not_there_is_named(home: Home) -> None:
    assert "does not exist" in complaint(home, "ingest", "nowhere.csv", code=2)


@pytest.mark.parametrize(
    ("selection", "words"), [("nonsense(", "is not understood"), ("group:nothing", "matches no asset")]
)
def test_a_wrong_selection_is_one_line(home: Home, selection: str, words: str) -> None:
    said = complaint(home, "materialize", "--select", selection)
    assert said.startswith(f"lakehouse: selection '{selection}' {words}")
    assert "\n" not in said


@pytest.mark.parametrize("text", ["ops: [", "ops: {nothing: {}}"])
def test_a_wrong_run_config_names_its_file(home: Home, tmp_path: Path, text: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(text)
    said = complaint(home, "materialize", "--config", str(config))
    assert said.startswith(f"lakehouse: {config} is not the run config of this graph")


def test_a_wrong_setting_is_one_line_with_its_name(home: Home) -> None:
    said = complaint(home, "status", code=2, LAKEHOUSE_API_PORT="abc")
    assert said.startswith("lakehouse: setting LAKEHOUSE_API_PORT: ")
    assert "\n" not in said


def test_a_home_that_cannot_be_written_is_one_line(home: Home) -> None:
    home.path.write_text("a file, not a folder")
    said = complaint(home, "materialize")
    assert said == f"lakehouse: {home.path} cannot be written: Not a directory."


def test_a_full_disk_is_told_before_anything_starts(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LAKEHOUSE_HOME", "DAGSTER_HOME"):
        monkeypatch.setenv(name, "unchanged")
    with pytest.raises(HomeError, match=r"has \d+ MiB left and 1000000000 are needed: make room, or set"):
        prepare(Settings(home=home.path), needed_mib=1_000_000_000)
    assert not home.settings.dagster_home.joinpath("dagster.yaml").exists()
