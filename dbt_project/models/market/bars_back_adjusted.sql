-- Another factor of the newest bar changes all bars of the series; else a new bar is a row more.
{{ config(changed_by={'market/bars': "
    with newest as (
        select
            symbol,
            interval,
            arg_max(adj_factor, ts) as adj_factor
        from market.bars
        where ts >= getvariable('first_change') - interval 30 days
        group by symbol, interval
    ),
    known as (
        select distinct
            symbol,
            interval,
            base_factor
        from stored
        where ts >= getvariable('first_change') - interval 30 days
    )
    select
        symbol,
        interval,
        if(newest.adj_factor = base_factor, ts, null) as ts
    from changes
    left join newest using (symbol, interval)
    left join known using (symbol, interval)
"}) }}

-- Prices adjusted backwards: the newest bar of a series is as traded, what went ex lowers or raises those before it.
with bars as (

    select * from {{ scoped(ref('bars')) }}

),

factors as (

    select
        *,
        first_value(adj_factor) over (
            partition by symbol, interval
            order by ts desc
        ) as base_factor,
        adj_factor / base_factor as back_factor
    from bars

)

select
    -- key
    symbol,
    interval,
    ts,

    -- adjusted backwards, relative to the newest bar
    base_factor,
    back_factor,
    open * back_factor as open,
    high * back_factor as high,
    low * back_factor as low,
    close * back_factor as close,
    year
from factors
