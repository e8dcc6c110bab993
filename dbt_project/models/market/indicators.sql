-- Technical indicators on forward-adjusted prices. The recursive ones run over lists, the others are plain windows.
with bars as (

    select
        symbol,
        asset_class,
        interval,
        ts,
        high_adj as high,
        low_adj as low,
        close_adj as close,
        year
    from {{ ref('bars') }}

),

changes as (

    select
        *,
        {{ bars_per_year('interval', 'asset_class') }} as bars_a_year,
        row_number() over series as bar_number,
        lag(close) over series as previous_close,
        close - previous_close as change,
        case when change > 0 then change when change <= 0 then 0 end as gain,
        case when change < 0 then -change when change >= 0 then 0 end as loss,
        -- `greatest` passes over nulls, and a range without its high, its low or a close before it is not a range
        case
            when high + low + previous_close is not null
                then greatest(high - low, abs(high - previous_close), abs(low - previous_close))
        end as true_range,
        ln(close / previous_close) as log_return_1,
        ln(close / lag(close, 5) over series) as log_return_5,
        ln(close / lag(close, 20) over series) as log_return_20
    from bars
    window series as (partition by symbol, interval order by ts)

),

lists as (

    select
        symbol,
        interval,
        list(ts order by ts) as ts,
        list(close order by ts) as close,
        -- the fast average of MACD starts with the slow one: its first value is on bar 26, from the 12 closes before
        list(case when bar_number > 26 - 12 then close end order by ts) as late_close,
        list(gain order by ts) as gain,
        list(loss order by ts) as loss,
        list(true_range order by ts) as true_range,
        list(log_return_1 ^ 2 order by ts) as squared_return
    from changes
    group by symbol, interval

),

smoothed as (

    select
        symbol,
        interval,
        ts,
        {{ ema('close', 12) }} as ema_12,
        {{ ema('close', 20) }} as ema_20,
        {{ ema('close', 26) }} as ema_26,
        {{ ema('close', 50) }} as ema_50,
        {{ ema('late_close', 12) }} as macd_fast,
        list_transform(list_zip(macd_fast, ema_26), lambda pair: pair[1] - pair[2]) as macd,
        {{ ema('macd', 9) }} as macd_signal,
        {{ wilder('gain', 14) }} as average_gain_14,
        {{ wilder('loss', 14) }} as average_loss_14,
        {{ wilder('true_range', 14) }} as atr_14,
        smooth(squared_return, 6e-2, 20, 0, null) as ewma_variance
    from lists

),

recursive as (

    select
        symbol,
        interval,
        unnest(ts) as ts,
        unnest(ema_12) as ema_12,
        unnest(ema_20) as ema_20,
        unnest(ema_26) as ema_26,
        unnest(ema_50) as ema_50,
        unnest(macd_fast) as macd_fast,
        unnest(macd) as macd,
        unnest(macd_signal) as macd_signal,
        unnest(average_gain_14) as average_gain_14,
        unnest(average_loss_14) as average_loss_14,
        unnest(atr_14) as atr_14,
        unnest(ewma_variance) as ewma_variance
    from smoothed

),

windows as (

    select
        *,
        {{ rolling('avg', 'close', 5) }} as sma_5,
        {{ rolling('avg', 'close', 10) }} as sma_10,
        {{ rolling('avg', 'close', 20) }} as sma_20,
        {{ rolling('avg', 'close', 50) }} as sma_50,
        {{ rolling('avg', 'close', 200) }} as sma_200,
        {{ rolling('stddev_pop', 'close', 20) }} as deviation_20,
        {{ rolling('stddev_samp', 'log_return_1', 5) }} * sqrt(bars_a_year) as realized_vol_5,
        {{ rolling('stddev_samp', 'log_return_1', 20) }} * sqrt(bars_a_year) as realized_vol_20,
        {{ rolling('stddev_samp', 'log_return_1', 60) }} * sqrt(bars_a_year) as realized_vol_60
    from changes
    window series as (partition by symbol, interval order by ts)

)

select
    -- key
    symbol,
    interval,
    ts,

    -- trend
    sma_5,
    sma_10,
    sma_20,
    sma_50,
    sma_200,
    ema_12,
    ema_20,
    ema_26,
    ema_50,

    -- momentum
    case
        when average_gain_14 + average_loss_14 > 1e-14
            then 100 * average_gain_14 / (average_gain_14 + average_loss_14)
        when average_gain_14 is not null then 0 -- no change at all, as TA-Lib has it
    end as rsi_14,
    case when macd_signal is not null then macd end as macd,
    macd_signal,
    macd - macd_signal as macd_hist,

    -- Bollinger bands
    sma_20 as bb_middle_20,
    sma_20 + 2 * deviation_20 as bb_upper_20,
    sma_20 - 2 * deviation_20 as bb_lower_20,
    (close - bb_lower_20) / nullif(bb_upper_20 - bb_lower_20, 0) as bb_percent_b_20,
    (bb_upper_20 - bb_lower_20) / sma_20 as bb_bandwidth_20,

    -- range and volatility
    true_range,
    atr_14,
    log_return_1,
    log_return_5,
    log_return_20,
    realized_vol_5,
    realized_vol_20,
    realized_vol_60,
    sqrt(ewma_variance) as ewma_vol,

    -- states of the recursions that are not columns above
    bar_number,
    macd_fast,
    average_gain_14,
    average_loss_14,
    ewma_variance,

    year
from windows
join recursive using (symbol, interval, ts)
