-- Prices adjusted backwards: the newest bar of a series is as traded, and what went ex lowers or raises those before it.
with bars as (

    select * from {{ ref('bars') }}

),

factors as (

    select
        *,
        adj_factor / first_value(adj_factor) over (
            partition by symbol, interval
            order by ts desc
        ) as back_factor
    from bars

)

select
    -- key
    symbol,
    interval,
    ts,

    -- adjusted backwards
    back_factor,
    open * back_factor as open,
    high * back_factor as high,
    low * back_factor as low,
    close * back_factor as close,
    year
from factors
