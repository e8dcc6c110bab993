"""Derived tables on a DuckDB connection: the functions that the SQL of models uses, and models as views."""

from collections.abc import Mapping

from duckdb import DuckDBPyConnection

from lake import calendars, duck, list_functions, sentiment


def register_functions(connection: DuckDBPyConnection) -> None:
    """Make the functions that models use known to a connection."""
    list_functions.register(connection)
    calendars.register(connection)
    sentiment.register(connection)


def define_models(connection: DuckDBPyConnection, queries: Mapping[str, str]) -> None:
    """Derive tables anew from the raw tables that a connection shows, instead of reading them from the lake.

    Parameters
    ----------
    queries : lake table to the SQL that makes it, each after those that it reads.
    """
    register_functions(connection)
    for table, query in queries.items():
        duck.create_view(connection, table, query)
