-- What the models read: causal, free of scale, null while a window is not full.
with bars as (

    select
        symbol,
        asset_class,
        interval,
        ts,
        close_adj as close,
        close as last_price,
        closes_at,
        year
    from {{ closes_at(ref('bars')) }}

),

indicators as (

    select
        * exclude (ewma_vol, year),
        {{ floored('ewma_vol') }} as ewma_vol
    from {{ ref('indicators') }}

),

joined as (

    select
        *,
        log_return_1 ^ 2 as squared_return
    from bars
    join indicators using (symbol, interval, ts)

),

own as (

    select
        symbol,
        asset_class,
        interval,
        ts,
        close,
        last_price,

        -- returns, plain and in units of the day's volatility
        log_return_1,
        log_return_5,
        log_return_20,
        log_return_1 / ewma_vol as scaled_return_1,
        log_return_5 / (ewma_vol * sqrt(5)) as scaled_return_5,
        log_return_20 / (ewma_vol * sqrt(20)) as scaled_return_20,

        -- volatility
        ln(ewma_vol) as log_ewma_vol,
        {{ log_vol('squared_return', 5) }} as log_vol_5,
        {{ log_vol('squared_return', 20) }} as log_vol_20,
        {{ log_vol('squared_return', 60) }} as log_vol_60,

        -- momentum
        rsi_14 / 100 - 0.5 as rsi_14_centered,
        macd_hist / close / ewma_vol as macd_hist_scaled,
        bb_percent_b_20,
        bb_bandwidth_20,

        -- distance from trend and peak
        ln(close / sma_20) as close_to_sma_20,
        ln(close / sma_50) as close_to_sma_50,
        ln(close / sma_200) as close_to_sma_200,
        ln(close / {{ rolling('max', 'close', 252) }}) as drawdown_252,

        ewma_vol,
        closes_at,
        year
    from joined
    window series as (partition by symbol, interval order by ts)

),

market as (

    select
        interval,
        ts,
        closes_at,
        scaled_return_1 as market_scaled_return_1,
        scaled_return_5 as market_scaled_return_5,
        log_ewma_vol as market_log_ewma_vol,
        log_vol_20 as market_log_vol_20
    from own
    where symbol = '{{ var("market_index") }}'

)

select
    own.* exclude (ewma_vol, closes_at, year),

    -- the market at its last bar that had closed when this one did
    market.market_scaled_return_1,
    market.market_scaled_return_5,
    market.market_log_ewma_vol,
    market.market_log_vol_20,
    own.ts > market.ts as market_filled,

    own.ewma_vol,
    own.year
from own
asof left join market
    on own.interval = market.interval and own.closes_at >= market.closes_at
