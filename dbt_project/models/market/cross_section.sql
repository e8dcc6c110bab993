{{ config(across_symbols=true, changed_by={
    'market/indicators': 'select symbol, interval, ts from changes',
    'market/bars': 'select symbol, interval, ts from changes',
    'raw/sessions': 'select null as symbol, null as interval, ts from changes',
    'raw/instruments': "
        select null as symbol, null as interval, null as ts
        from (" ~ changed_instruments(['calendar']) ~ ")
    ",
}) }}

-- Where a bar stands among all bars of its length and day that close together: what closes later is not known yet.
with bars as (

    select
        symbol,
        interval,
        ts,
        closes_at,
        closes_with,
        currency,
        volume,
        close * volume as traded_value,
        year
    from {{ closes_at(scoped(ref('bars'))) }}

),

indicators as (

    select
        symbol,
        interval,
        ts,
        log_return_1,
        log_return_20,
        realized_vol_20
    from {{ scoped(ref('indicators')) }}

)

select
    -- key
    symbol,
    interval,
    ts,

    -- 0 is the lowest, 1 the highest
    {{ percent_rank('log_return_1') }} as rank_return_1,
    {{ percent_rank('log_return_20') }} as rank_momentum_20,
    {{ percent_rank('realized_vol_20') }} as rank_volatility_20,
    {{ percent_rank('volume') }} as rank_volume,
    {{ percent_rank('traded_value', among=['currency']) }} as rank_liquidity,

    year
from bars
inner join indicators using (symbol, interval, ts)
