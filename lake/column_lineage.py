"""Column lineage: from which columns of which tables the columns of a query are computed, read off its SQL."""

from collections.abc import Mapping, Sequence

from sqlglot import exp, parse_one
from sqlglot.lineage import Node, lineage

Lineage = dict[str, list[tuple[str, str]]]


def column_lineage(sql: str, tables: Mapping[str, Sequence[str]], dialect: str = "duckdb") -> Lineage:
    """The columns that each column of a query takes values from, through common table expressions, lists and windows.

    What only orders, groups, joins or filters rows is not among them.

    Parameters
    ----------
    sql : one query; the names of its tables may have a database before the schema.
    tables : columns of the tables that it may read, by name (`market/bars`). Whatever else it reads has no lineage.
    dialect : of the SQL, as sqlglot names it: `duckdb` or `spark`.

    Returns
    -------
    By column of the query, pairs of table and column in alphabetical order; empty for a constant or a row number.

    Raises
    ------
    ValueError : the query is beyond the parser.
    """
    schema: dict[str, dict[str, dict[str, str]]] = {}
    for name, columns in tables.items():
        database, table = name.split("/")
        schema.setdefault(database, {})[table] = dict.fromkeys(columns, "unknown")
    try:
        query = _values_only(_plain(parse_one(sql, dialect=dialect)))
        if any(union.args.get("by_name") for union in query.find_all(exp.SetOperation)):
            raise ValueError("`union by name` would be taken for one by position")
        columns_of = lineage(None, query, schema, dialect=dialect, copy=False, trim_selects=False)
    except Exception as error:  # whatever the parser raises where it is beyond itself
        raise ValueError(f"no column lineage: {error}") from error
    return {name: sorted(_origins(node, tables)) for name, node in columns_of.items()}


def _plain(query: exp.Expr) -> exp.Expr:
    """The query with lists of structs, functions of entries and `unnest(columns(*))` in words that can be followed."""
    for unnested in list(query.find_all(exp.Explode)):
        if isinstance(unnested.this, exp.Columns):
            unnested.replace(unnested.this.this)
    for struct in list(query.find_all(exp.Struct)):  # list({'close': close}) as series
        packed = struct.find_ancestor(exp.Alias, exp.Select)
        if isinstance(packed, exp.Alias) and isinstance(packed.parent, exp.Select):
            others = [it for it in packed.parent.expressions if it is not packed]
            fields = [exp.alias_(entry.expression, entry.this) for entry in struct.expressions]
            packed.parent.set("expressions", others + fields)
    for applied in list(query.find_all(exp.Transform)):
        body, arguments = applied.expression.this, applied.expression.expressions
        if isinstance(body, exp.Dot):  # list_transform(series, lambda bar: bar.close)
            applied.replace(exp.column(body.expression))
        elif len(arguments) == 2 or isinstance(applied.this, exp.GenerateSeries):  # lambda i: high[i] - low[i]
            applied.replace(body)
    for column in query.find_all(exp.Column):
        flag = column.find_ancestor(exp.Alias, exp.Select)
        if column.table == "_scope" and isinstance(
            flag, exp.Alias
        ):  # is_lookback: which rows to build, not what is in them
            flag.set("this", exp.null())
    return query


def _values_only(query: exp.Expr) -> exp.Expr:
    """The query without databases of tables and without the order of windows and lists."""
    for table in query.find_all(exp.Table):
        table.set("catalog", None)
    for window in query.find_all(exp.Window):
        window.set("partition_by", None)
        window.set("order", None)
    for order in list(query.find_all(exp.Order)):
        if isinstance(order.parent, exp.Func):  # list(close order by ts)
            order.replace(order.this)
    return query


def _origins(node: Node, tables: Mapping[str, Sequence[str]]) -> set[tuple[str, str]]:
    found = {
        (f"{leaf.expression.db}/{leaf.expression.name}", exp.to_column(leaf.name).name)
        for leaf in node.walk()
        if isinstance(leaf.expression, exp.Table)
    }
    return {(table, column) for table, column in found if column in tables.get(table, ())}
