"""Readers beside a writer that replaces days, rebuilds, compacts and vacuums: no failed read, and none of a part."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pyarrow as pa
import pytest

from lake.duck import connect
from lake.settings import Settings
from lake.store import Lake
from lake.upkeep import compact, vacuum
from tests.serving_kit import SESSION, make_settings, rows_table, serve, session
from tests.serving_kit import TABLE as PREDICTIONS

DAYS = [datetime(2022, 1, 3, tzinfo=UTC) + timedelta(days=number) for number in range(6)]
SYMBOLS = [f"S{number}" for number in range(50)]
BARS = "market/bars"
WRITES, HISTORY = 30, 5
TWO_HOURS = timedelta(hours=2)


def whole(*days: datetime, value: int) -> pa.Table:
    """All symbols of some days, the same value in every row and its opposite beside it."""
    rows = [(day, symbol, value, -value) for day in days for symbol in SYMBOLS]
    return pa.table(dict(zip(("ts", "symbol", "value", "opposite"), map(list, zip(*rows, strict=True)), strict=True)))


def write_history(lake: Lake) -> None:
    """Versions of both tables that were replaced two hours ago, by what their logs say."""
    for number in range(HISTORY):
        lake.replace(BARS, whole(*DAYS, value=-number))
        lake.replace(PREDICTIONS, rows_table(session(*SYMBOLS[:4], last_price=0.0)))
    for log in Path(lake.uri).rglob("_delta_log/*.json"):
        actions = [json.loads(line) for line in log.read_text().splitlines()]
        for action in actions:
            if "remove" in action:
                action["remove"]["deletionTimestamp"] -= TWO_HOURS // timedelta(milliseconds=1)
        log.write_text("".join(f"{json.dumps(action)}\n" for action in actions))


def write(settings: Settings) -> None:
    """Thirty commits: most replace one day, every tenth all of them, and between them the tables are kept small.

    What was replaced more than an hour ago is deleted; what readers may have just opened is younger.
    """
    lake, deleted = Lake.from_settings(settings), Counter[str]()
    for number in range(WRITES):
        if number % 10 == 0:
            lake.replace(BARS, whole(*DAYS, value=number))
            lake.replace(PREDICTIONS, rows_table(session(*SYMBOLS[:4], last_price=float(number))))
        else:
            day = DAYS[number % len(DAYS)]
            lake.replace(BARS, whole(day, value=number), f"ts = '{day.isoformat()}'")
            later = SESSION + timedelta(days=number)
            lake.append(PREDICTIONS, rows_table(session(*SYMBOLS[:4], as_of=later, last_price=float(number))))
        if number % 10 == 7:
            for table in (BARS, PREDICTIONS):
                compact(lake, table)
                deleted[table] += vacuum(settings, table, set(), retention_hours=1).files_deleted
    assert deleted == {BARS: HISTORY - 1, PREDICTIONS: HISTORY - 1}


@contextmanager
def loop(name: str, look: Callable[[], None]) -> Iterator[None]:
    """Look again and again beside the body; afterwards raise what went wrong, and more than a few looks are wanted."""
    over, looks, wrong = threading.Event(), [0], []

    def run() -> None:
        try:
            while not over.is_set():
                look()
                looks[0] += 1
        except BaseException as error:
            wrong.append(error)

    thread = threading.Thread(target=run, name=name)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if wrong:
        raise AssertionError(f"{name}, after {looks[0]} good reads") from wrong[0]
    assert looks[0] > 5, f"{name}: {looks[0]} reads only"


def assert_whole(days: list[tuple[int, int, int, int]], before: dict[int, int]) -> None:
    """Six days, each with all its symbols, one value and its opposite, and none older than what was read before."""
    assert len(days) == len(DAYS)
    for number, (count, least, most, opposite) in enumerate(days):
        assert (count, least, opposite) == (len(SYMBOLS), most, -most)
        assert most >= before.get(number, 0)
        before[number] = most


QUERY = "select count(*), min(value), max(value), min(opposite) from market.bars group by ts order by ts"


def test_no_reader_of_the_lake_fails_or_sees_a_part(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = make_settings(tmp_path, tmp_path_factory)
    lake = Lake.from_settings(settings)
    write_history(lake)
    lake.replace(BARS, whole(*DAYS, value=0))
    lake.replace(PREDICTIONS, rows_table(session(*SYMBOLS[:4], last_price=0.0)))
    seen: dict[str, dict[int, int]] = {"arrow": {}, "duckdb anew": {}, "duckdb kept open": {}}

    def through_arrow() -> None:
        rows = (
            lake.read(BARS)
            .group_by("ts")
            .aggregate([("value", "count"), ("value", "min"), ("value", "max"), ("opposite", "min")])
        )
        days = rows.sort_by("ts").select(["value_count", "value_min", "value_max", "opposite_min"])
        assert_whole([tuple(day.values()) for day in days.to_pylist()], seen["arrow"])

    def through_duckdb() -> None:
        with connect(lake) as connection:
            assert_whole(connection.sql(QUERY).fetchall(), seen["duckdb anew"])

    with ExitStack() as readers:
        client: httpx.Client = readers.enter_context(serve(settings))
        kept = readers.enter_context(connect(lake))

        def through_the_api() -> None:
            answer = client.get("/v1/predictions")
            assert answer.status_code == 200, answer.text
            found = answer.json()["predictions"]
            assert [each["symbol"] for each in found] == sorted(SYMBOLS[:4])
            assert len({(each["as_of"], each["last_price"]) for each in found}) == 1

        readers.enter_context(loop("arrow", through_arrow))
        readers.enter_context(loop("duckdb anew", through_duckdb))
        readers.enter_context(
            loop("duckdb kept open", lambda: assert_whole(kept.sql(QUERY).fetchall(), seen["duckdb kept open"]))
        )
        readers.enter_context(loop("api", through_the_api))
        write(settings)
