"""The functions over lists as SQL knows them."""

from collections.abc import Callable

import duckdb
import numpy as np
import pytest

from lake.list_functions import LIST_FUNCTIONS, register
from lake.lists import Lists
from lake.recursion import smooth

Query = Callable[[str], list[tuple[object, ...]]]


@pytest.fixture
def query() -> Query:
    connection = duckdb.connect()
    register(connection)
    return lambda sql: connection.execute(sql).fetchall()


def test_sql_computes_a_list_for_each_series(query: Query) -> None:
    rows = query("""
        select symbol, smooth(list(x order by i), 0.5, 2, 0, null), rolling_mean(list(x order by i), 2, 1)
        from (values ('A', 1, 1.0), ('A', 2, 3.0), ('A', 3, null), ('A', 4, 4.0), ('B', 1, 5.0)) as t (symbol, i, x)
        group by symbol order by symbol
    """)
    assert rows == [("A", [None, 2.0, None, 3.0], [2.0, None, None]), ("B", [None], [])]


def test_sql_continues_from_a_state(query: Query) -> None:
    assert query("select smooth([9.0, 4.0, null, 5.0], 0.5, 14, 1, 2.0)") == [([3.0, None, 4.0],)]


@pytest.mark.parametrize("lists", ["([]::double[]), (null), ([2.0])", "(null), (null)", "([]), ([])"])
def test_every_function_takes_empty_and_missing_lists(query: Query, lists: str) -> None:
    for function in LIST_FUNCTIONS:
        constants = "".join(", 1" for _ in function.constants)
        state = ", null" if function.has_state else ""
        arguments = ", ".join(["x"] * function.lists) + constants + ", 0" + state
        rows = query(f"select len({function.name}({arguments})) from (values {lists}) as t (x)")
        assert [length for (length,) in rows] == [1 if "[2.0]" in it else 0 for it in lists.split("), (")]


def test_no_rows_are_no_rows(query: Query) -> None:
    assert query("select rolling_mean([1.0], 1, 0) where false") == []


def test_sql_agrees_with_numpy_on_many_series(query: Query) -> None:
    """More series than DuckDB hands over at once, each of its own length."""
    rows = query("""
        select x, smooth(x, 0.1, 5, 0, null)
        from (select list(sin(i * s) order by i) as x from range(3000) as s (s), range(20) as i (i)
              where i <= s % 20 group by s)
    """)
    assert len(rows) == 3000
    for values, results in rows:
        assert isinstance(values, list)
        ours = smooth(Lists.of([values]), 0.1, 5, np.array([np.nan]))
        assert results == [None if np.isnan(it) else it for it in ours]


def test_registering_twice_is_harmless() -> None:
    connection = duckdb.connect()
    register(connection)
    register(connection)
    register(connection.cursor())
    assert connection.cursor().execute("select smooth([1.0], 0.5, 1, 0, null)").fetchone() == ([1.0],)
