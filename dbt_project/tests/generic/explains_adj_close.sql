{#
  From one session to the next, adj_close / close of a source changes by the factors of its splits and dividends, to within
  the rounding of both and the choice of the price that a dividend is set against.
#}
{% test explains_adj_close(model, bars, tolerance) %}
with sessions as (

    select
        symbol,
        source,
        ts,
        lag(ts) over series as previous_ts,
        adj_close / close as adjustment,
        adjustment / lag(adjustment) over series as step,
        lag(source) over series as previous_source
    from {{ bars }}
    where interval = '1d'
    window series as (partition by symbol order by ts)

),

effects as (

    select
        actions.symbol,
        sessions.ts,
        1 / product(actions.factor) as expected_step
    from {{ model }} as actions
    asof join sessions
        on actions.symbol = sessions.symbol and actions.ts <= sessions.ts
    where actions.source in (sessions.source, 'file')
    group by all

)

select
    symbol,
    source,
    ts,
    step,
    coalesce(expected_step, 1) as explained_step
from sessions
left join effects using (symbol, ts)
where source = previous_source
    and abs(ln(step / explained_step)) > {{ tolerance }}
{% endtest %}
