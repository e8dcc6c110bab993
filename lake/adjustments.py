"""Whether the adjusted closes of a source and its splits and dividends tell the same story."""

from typing import Any

from lake.duck import connect
from lake.store import Lake

TOLERANCE = 1e-3
"""Of a step, for rounding, and for the choice of the price that a dividend is set against."""

_UNEXPLAINED = """
with sessions as (
    select
        symbol, source, ts,
        (adj_close / close) / lag(adj_close / close) over series as step,
        lag(source) over series as previous_source
    from market.bars
    where interval = '1d'
    window series as (partition by symbol order by ts)
),

-- An action takes effect with the first session that is not before its date.
effects as (
    select
        actions.symbol, sessions.ts,
        if(bool_and(coalesce(actions.factor, 0) > 0), 1 / product(actions.factor), null) as step_of_actions
    from market.corporate_actions as actions
    asof join sessions on actions.symbol = sessions.symbol and actions.ts <= sessions.ts
    where actions.source in (sessions.source, 'file')
    group by all
),

compared as (
    select sessions.*, if(effects.ts is null, 1, step_of_actions) as step_of_actions
    from sessions left join effects using (symbol, ts)
)

select symbol, source, ts, step, step_of_actions
from compared
where source = previous_source and coalesce(abs(ln(step / step_of_actions)) > $tolerance, true)
order by ts desc, symbol
"""


def unexplained_adjustments(lake: Lake) -> list[dict[str, Any]]:
    """Sessions at which adj_close / close of a source steps otherwise than its splits and dividends say; newest first.

    Returns
    -------
    Rows of symbol, source, ts, `step` (what the ratio is multiplied by) and `step_of_actions` (what it should be: the
    split ratio, and 1 / (1 - dividend / previous close); None where a dividend is not below that close, which is always
    listed).
    """
    with connect(lake) as connection:
        return connection.execute(_UNEXPLAINED, {"tolerance": TOLERANCE}).to_arrow_table().to_pylist()
