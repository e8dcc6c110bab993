-- The market index: what a bar that closes at any time may know of it. All its bars, as what closes elsewhere may look
-- back to any of them.
with bars as (

    select
        bars.interval,
        bars.ts,
        bars.closes_at,
        {{ floored('indicators.ewma_vol') }} as ewma_vol,
        indicators.log_return_1,
        indicators.log_return_5,
        pow(indicators.log_return_1, 2) as squared_return
    from {{ closes_at("(select * from " ~ ref('bars') ~ " where symbol = '" ~ var('market_index') ~ "')") }} as bars
    inner join {{ ref('indicators') }} as indicators
        on bars.symbol = indicators.symbol and bars.interval = indicators.interval and bars.ts = indicators.ts

),

lists as (

    {{ as_lists('bars', ['ts', 'squared_return'], by=['interval']) }}

),

windows as (

    select
        interval,
        ts,
        rolling_mean(squared_return, 20, 0) as mean_square_20
    from lists

),

rolled as (

    {{ as_rows('windows', by=['interval']) }}

)

select
    bars.interval,
    bars.ts,
    bars.closes_at,
    bars.log_return_1 / bars.ewma_vol as market_scaled_return_1,
    bars.log_return_5 / (bars.ewma_vol * sqrt(5)) as market_scaled_return_5,
    ln(bars.ewma_vol) as market_log_ewma_vol,
    {{ log_vol('rolled.mean_square_20') }} as market_log_vol_20
from bars
inner join rolled using (interval, ts)
