"""Derived tables on a DuckDB connection: the functions that the SQL of models uses, and models as views."""

import inspect
from collections.abc import Mapping
from importlib.metadata import version

from duckdb import DuckDBPyConnection

from lake import calendars, duck, list_functions, lists, recursion, sentiment, windows


def register_functions(connection: DuckDBPyConnection) -> None:
    """Make the functions that models use known to a connection."""
    list_functions.register(connection)
    calendars.register(connection)
    sentiment.register(connection)


def functions_source() -> str:
    """Source text of these functions, and the packages that they call: what a model's rows follow from, too."""
    modules = (list_functions, lists, recursion, windows, calendars, sentiment)
    packages = (f"{name} {version(name)}\n" for name in ("numpy", "scipy", "vaderSentiment"))
    return "".join([*packages, *map(inspect.getsource, modules)])


def define_models(connection: DuckDBPyConnection, queries: Mapping[str, str]) -> None:
    """Derive tables anew from the raw tables that a connection shows, instead of reading them from the lake.

    Parameters
    ----------
    queries : lake table to the SQL that makes it, each after those that it reads.
    """
    register_functions(connection)
    for table, query in queries.items():
        duck.create_view(connection, table, query)
