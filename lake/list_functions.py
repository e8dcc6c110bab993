"""The functions over lists that SQL knows, in DuckDB and in Spark: what they are called and what they are given."""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import Parameter, Signature
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from duckdb.func import FunctionNullHandling, PythonUDFType

from lake import recursion, windows
from lake.lists import Floats, Lists


@dataclass(frozen=True)
class ListFunction:
    """A function of one or two lists of numbers, which gives a list without the `lookback` first rows.

    Attributes
    ----------
    compute : `(*lists, *constants)` or `(*lists, *constants, state)`.
    constants : name and SQL type of the arguments that are the same in all rows of a query, behind the lists.
    lists : number of lists; all those of a row have one length.
    has_state : whether the last argument is the result before the first wanted row, or null.
    """

    compute: Callable[..., Floats]
    constants: tuple[tuple[str, str], ...] = ()
    lists: int = 1
    has_state: bool = False

    @property
    def name(self) -> str:
        """What SQL calls it."""
        return self.compute.__name__

    @property
    def parameters(self) -> tuple[str, ...]:
        """SQL types of the arguments: lists, constants, `lookback` and, where there is one, `state`."""
        states = ("double",) if self.has_state else ()
        return ("double[]",) * self.lists + tuple(kind for _, kind in self.constants) + ("integer", *states)

    @property
    def __signature__(self) -> Signature:
        """Number of arguments, which DuckDB asks for."""
        return Signature([Parameter(f"_{i}", Parameter.POSITIONAL_ONLY) for i in range(len(self.parameters))])

    def __call__(self, *arguments: pa.Array | pa.ChunkedArray) -> pa.ListArray:
        """Compute it for a batch of rows: Arrow arrays of equal length in the order of `parameters`."""
        columns = [it.combine_chunks() if isinstance(it, pa.ChunkedArray) else it for it in arguments]
        if not len(columns[0]):
            return pa.array([], pa.list_(pa.float64()))
        constants = [column[0].as_py() for column in columns[self.lists : self.lists + len(self.constants)]]
        lookback = columns[self.lists + len(self.constants)].to_numpy(zero_copy_only=False)
        lists = [Lists.from_arrow(column, lookback) for column in columns[: self.lists]]
        state: list[Any] = [columns[-1].to_numpy(zero_copy_only=False)] if self.has_state else []
        with np.errstate(invalid="ignore", over="ignore"):
            results = self.compute(*lists, *constants, *state)
        return lists[0].to_arrow(results)


_N = (("n", "integer"),)

LIST_FUNCTIONS = (
    ListFunction(recursion.smooth, (("alpha", "double"), ("warmup", "integer")), has_state=True),
    ListFunction(recursion.wilder_sum, _N, has_state=True),
    ListFunction(recursion.running_sum, has_state=True),
    ListFunction(recursion.running_max, has_state=True),
    ListFunction(windows.rolling_sum, _N),
    ListFunction(windows.rolling_mean, _N),
    ListFunction(windows.rolling_wma, _N),
    ListFunction(windows.rolling_min, _N),
    ListFunction(windows.rolling_max, _N),
    ListFunction(windows.rolling_std, _N),
    ListFunction(windows.rolling_std_pop, _N),
    ListFunction(windows.rolling_var, _N),
    ListFunction(windows.rolling_mean_deviation, _N),
    ListFunction(windows.rolling_cov, _N, lists=2),
    ListFunction(windows.lagged, _N),
)


def register(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the functions known to a DuckDB connection; twice does nothing."""
    known = {name for (name,) in connection.execute("select function_name from duckdb_functions()").fetchall()}
    for function in LIST_FUNCTIONS:
        if function.name not in known:
            connection.create_function(
                function.name,
                function,
                list(function.parameters),
                "double[]",
                type=PythonUDFType.ARROW,
                null_handling=FunctionNullHandling.SPECIAL,
            )
