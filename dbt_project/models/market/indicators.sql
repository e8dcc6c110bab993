{{ config(
    changed_by={
        'market/bars': "select " ~ index_for_all() ~ ", interval, ts from changes",
        'raw/instruments': "
            select " ~ index_for_all() ~ ", null as interval, null as ts
            from (" ~ changed_instruments(['calendar']) ~ ")
        ",
        'raw/sessions': "select null as symbol, '1d' as interval, ts from changes",
    },
    lookback=260,
    warm="""
        bar_number >= 260 and ema_200 is not null and average_gain_14 is not null and ewma_variance is not null
        and (high_low_number = 0 or adx_14 + atr_14 + atr_10 is not null)
        and (volume_number = 0 or obv is not null)
        and (high_low_number = 0 or volume_number = 0 or adl is not null)
    """,
) }}

-- Technical indicators on forward-adjusted prices: rows become lists of a series, functions of lists take care of all that
-- looks at more than one row, and the lists become rows again. To add an indicator, write one expression: over lists
-- in `recursions` or `windows`, or of their results in `indicators`; and describe it in indicators.yml.
{%- set columns = ['ts', 'open', 'high', 'low', 'close', 'volume', 'market_close', 'bars_a_year'] %}
{#- Rows that windows may look back on: those in `long_windows`, and those in `windows`, of values that look back on one more. #}
{%- set long_rows, rows = 61, 31 %}
with delivered as (

    select
        symbol,
        asset_class,
        currency,
        interval,
        ts,
        is_lookback,
        {%- for price in ['open', 'high', 'low', 'close'] %}
        case when {{ is_finite(price ~ '_adj') }} then {{ price }}_adj end as {{ price }},
        {%- endfor %}
        volume
    from {{ scoped(ref('bars'), lookback=true) }}

),

closes as (

    {{ as_lists('delivered', ['ts', 'close']) }}

),

counted as (

    {{ lookback_of('delivered') }}

),

-- Only the longest averages are made of all rows before the first to build, everything else of the last few.
longest_windows as (

    select
        closes.symbol,
        closes.interval,
        {{ entry('ts', 'greatest(lookback - ' ~ long_rows ~ ', 0) + 1') }} as since,
        rolling_mean(close, 100, lookback) as sma_100,
        rolling_mean(close, 200, lookback) as sma_200
    from closes
    inner join counted on closes.symbol = counted.symbol and closes.interval = counted.interval

),

bars as (

    select
        *,
        {{ bars_per_year('interval', 'asset_class') }} as bars_a_year
    from {{ closes_at('(select * from delivered where ts >= (select min(since) from longest_windows))') }}

),

market as (

    select
        interval,
        closes_at,
        close_adj as market_close
    from {{ closes_at(ref('bars')) }}
    where symbol = '{{ var("market_index") }}' and {{ is_finite('close_adj') }}

),

-- What the market index had last closed with when a bar was known. Many bars share that time: it is looked up once.
moments as (

    select distinct interval, closes_at
    from bars

),

known as (

    select
        moments.interval,
        moments.closes_at,
        market.market_close
    from moments
    {{ asof_left_join('moments', 'market', on=['interval'], time='closes_at') }}

),

beside_the_market as (

    select
        bars.*,
        known.market_close
    from bars
    left join known on bars.interval = known.interval and bars.closes_at = known.closes_at

),

lists as (

    {{ as_lists('beside_the_market', columns) }}

),

counted_lately as (

    {{ lookback_of('bars') }}

),

series as (

    select
        lists.*,
        lookback,
        sma_100,
        sma_200
    from lists
    inner join counted_lately as counted on lists.symbol = counted.symbol and lists.interval = counted.interval
    inner join longest_windows as longest on lists.symbol = longest.symbol and lists.interval = longest.interval

),

returns as (

    select
        *,
        {{ each(log_ratio('close[i]', 'previous_close[i]')) }} as log_return_1,
        -- the index moves from what it was when the bar before was known to what it is now, however long that is
        {{ each(log_ratio('market_close[i]', 'previous_market_close[i]')) }} as market_return
    from (
        select
            *,
            lagged(close, 1, 0) as previous_close,
            lagged(market_close, 1, 0) as previous_market_close
        from series
    )

),

long_windows as (

    select
        symbol,
        interval,
        least(lookback, {{ rows }}) as lookback,
        sma_100,
        sma_200,
        rolling_mean(close, 50, lookback) as sma_50,
        rolling_std(log_return_1, 60, lookback) as return_deviation_60,
        rolling_cov(log_return_1, market_return, 60, lookback) as market_covariance_60,
        rolling_var(market_return, 60, lookback) as market_variance_60,
        {%- for column in ['ts', 'open', 'high', 'low', 'close', 'volume', 'bars_a_year', 'previous_close', 'log_return_1'] %}
        {{ without_first(column, 'greatest(lookback - ' ~ rows ~ ', 0)') }} as {{ column }}{{ "," if not loop.last }}
        {%- endfor %}
    from returns

),

previous as (

    select
        *,
        {{ each('1e0') }} as one,
        lagged(high, 1, 0) as previous_high,
        lagged(low, 1, 0) as previous_low,
        {{ each('(high[i] + low[i] + close[i]) / 3') }} as typical_price
    from long_windows

),

changes as (

    select
        *,
        {{ each('close[i] - previous_close[i]') }} as change,
        {{ each('high[i] - previous_high[i]') }} as up,
        {{ each('previous_low[i] - low[i]') }} as down,
        -- `greatest` passes over nulls, and a range without its high, its low or a close before it is not a range
        {{ each("""
            case
                when high[i] + low[i] + previous_close[i] is not null
                    then greatest(high[i] - low[i], abs(high[i] - previous_close[i]), abs(low[i] - previous_close[i]))
            end
        """) }} as true_range,
        {{ each(log_ratio('high[i]', 'low[i]')) }} as log_range,
        {{ each(log_ratio('close[i]', 'open[i]')) }} as log_body,
        lagged(typical_price, 1, 0) as previous_typical_price,
        running_sum(one, 0, null) as position
    from previous

),

inputs as (

    select
        *,

        -- momentum
        {{ each('case when change[i] > 0 then change[i] when change[i] <= 0 then 0e0 end') }} as gain,
        {{ each('case when change[i] < 0 then -change[i] when change[i] >= 0 then 0e0 end') }} as loss,
        -- the fast average of MACD starts with the slow one: its first value is on bar 26, from the 12 closes before
        {{ each('case when position[i] > 26 - 12 then close[i] end') }} as late_close,
        {{ each('case when up[i] + down[i] is not null then true_range[i] end') }} as directional_range,
        {{ each("""
            case
                when up[i] > down[i] and up[i] > 0 and true_range[i] is not null then up[i]
                when up[i] + down[i] + true_range[i] is not null then 0e0
            end
        """) }} as plus_dm,
        {{ each("""
            case
                when down[i] > up[i] and down[i] > 0 and true_range[i] is not null then down[i]
                when up[i] + down[i] + true_range[i] is not null then 0e0
            end
        """) }} as minus_dm,

        -- volume
        {{ each("""
            case
                when change[i] > 0 or position[i] = 1 then volume[i]
                when change[i] < 0 then -volume[i]
                when change[i] = 0 then 0 * volume[i]
            end
        """) }} as signed_volume,
        {{ each("""
            case
                when high[i] > low[i]
                    then ((close[i] - low[i]) - (high[i] - close[i])) / (high[i] - low[i]) * volume[i]
                when high[i] <= low[i] then 0 * volume[i]
            end
        """) }} as accumulation,
        {{ each('typical_price[i] * volume[i]') }} as money_flow,
        {{ each("""
            case
                when typical_price[i] > previous_typical_price[i] then typical_price[i] * volume[i]
                when typical_price[i] <= previous_typical_price[i] then 0 * volume[i]
            end
        """) }} as positive_flow,
        {{ each("""
            case
                when typical_price[i] < previous_typical_price[i] then typical_price[i] * volume[i]
                when typical_price[i] >= previous_typical_price[i] then 0 * volume[i]
            end
        """) }} as negative_flow,
        {{ each('case when typical_price[i] is not null then volume[i] end') }} as priced_volume,

        -- risk
        {{ each('log_return_1[i] * log_return_1[i]') }} as squared_return,
        {{ each('log_range[i] * log_range[i]') }} as parkinson_term,
        {{ each("""
            0.5e0 * log_range[i] * log_range[i] - (2 * ln(2e0) - 1) * log_body[i] * log_body[i]
        """) }} as garman_klass_term,

        -- which rows have a range, a high with a low, and a volume
        {{ each('case when true_range[i] + up[i] + down[i] is null then 0e0 else 1e0 end') }} as has_range,
        {{ each('case when high[i] + low[i] is null then 0e0 else 1e0 end') }} as has_high_low,
        {{ each('case when volume[i] is null then 0e0 else 1e0 end') }} as has_volume
    from changes

),

stored as (

    {{ stored_state(columns_of('indicators', state=true) | map(attribute='name') | list) }}

),

-- A series is read from its first row on, or goes on from a stored state, in which is all that came before.
steps as (

    select
        symbol,
        interval,
        0 as lookback,
        {%- for column in [
            'one', 'has_range', 'has_high_low', 'has_volume', 'close', 'late_close', 'gain', 'loss', 'directional_range',
            'plus_dm', 'minus_dm', 'true_range', 'signed_volume', 'accumulation', 'squared_return',
        ] %}
        {{ without_first(column, 'lookback') }} as {{ column }}{{ "," if not loop.last }}
        {%- endfor %}
    from inputs

),

recursions as (

    select
        steps.symbol,
        steps.interval,
        {{ running_sum('one', 'bar_number') }},
        {{ running_sum('has_range', 'range_number') }},
        {{ running_sum('has_high_low', 'high_low_number') }},
        {{ running_sum('has_volume', 'volume_number') }},
        {%- for n in [5, 10, 12, 20, 26, 50, 200] %}
        {{ ema('close', n, 'ema_' ~ n) }},
        {%- endfor %}
        {{ ema('late_close', 12, 'macd_fast') }},
        {{ wilder('gain', 14, 'average_gain_14') }},
        {{ wilder('loss', 14, 'average_loss_14') }},
        {{ wilder_sum('directional_range', 14, 'range_sum_14') }},
        {{ wilder_sum('plus_dm', 14, 'plus_dm_sum_14') }},
        {{ wilder_sum('minus_dm', 14, 'minus_dm_sum_14') }},
        {{ wilder('true_range', 10, 'atr_10') }},
        {{ wilder('true_range', 14, 'atr_14') }},
        {{ running_sum('signed_volume', 'obv') }},
        {{ running_sum('accumulation', 'adl') }},
        {{ smooth('squared_return', '6e-2', 20, 'ewma_variance') }},
        {{ running_max('close', 'peak') }}
    from steps
    left join stored on steps.symbol = stored.symbol and steps.interval = stored.interval

),

derived as (

    select
        symbol,
        interval,
        0 as lookback,
        -- of a constant price nothing is left but rounding
        {{ each("""
            case
                when abs(macd_fast[i] - ema_26[i]) > 1e-14 * abs(ema_26[i]) then macd_fast[i] - ema_26[i]
                when macd_fast[i] + ema_26[i] is not null then 0e0
            end
        """, along='ema_26') }} as macd_line,
        -- without any movement TA-Lib leaves ADX as it is (here NaN), and counts it as zero in the 14 that ADX starts with
        {{ each("""
            case
                when plus_dm_sum_14[i] + minus_dm_sum_14[i] > 1e-14
                    then 100 * (abs(plus_dm_sum_14[i] - minus_dm_sum_14[i]) / (plus_dm_sum_14[i] + minus_dm_sum_14[i]))
                when plus_dm_sum_14[i] is not null and range_number[i] < 28 then 0e0
                when plus_dm_sum_14[i] is not null then cast('nan' as double)
            end
        """, along='ema_26') }} as dx
    from recursions

),

recursions_of_recursions as (

    select
        derived.symbol,
        derived.interval,
        macd_line,
        {{ ema('macd_line', 9, 'macd_signal') }},
        {{ wilder('dx', 14, 'adx_14') }}
    from derived
    left join stored on derived.symbol = stored.symbol and derived.interval = stored.interval

),

-- %D is the mean of three %K, so that there are two more of these.
extremes as (

    select
        *,
        least(lookback, 2) as early,
        rolling_min(low, 14, greatest(lookback - 2, 0)) as lowest,
        rolling_max(high, 14, greatest(lookback - 2, 0)) as highest,
        {{ without_first('close', 'greatest(lookback - 2, 0)') }} as late_closes
    from inputs

),

stochastics as (

    select
        *,
        {{ each("""
            case
                when highest[i] > lowest[i] then 100 * ((late_closes[i] - lowest[i]) / (highest[i] - lowest[i]))
                when highest[i] <= lowest[i] then 0e0
            end
        """, along='late_closes') }} as k
    from extremes

),

-- What looks at the last rows only.
windows as (

    select
        symbol,
        interval,

        -- inputs of the rows to build
        {%- for column in ['ts', 'bars_a_year', 'close', 'volume', 'true_range', 'typical_price', 'log_return_1'] %}
        {{ without_first(column, 'lookback') }} as {{ column }},
        {%- endfor %}

        -- trend
        rolling_mean(close, 5, lookback) as sma_5,
        rolling_mean(close, 10, lookback) as sma_10,
        rolling_mean(close, 20, lookback) as sma_20,
        sma_50,
        sma_100,
        sma_200,
        rolling_wma(close, 20, lookback) as wma_20,

        -- momentum
        {{ without_first('k', 'early') }} as k,
        rolling_mean(k, 3, early) as stoch_d_3,
        {{ without_first('lowest', 'early') }} as lowest_14,
        {{ without_first('highest', 'early') }} as highest_14,
        rolling_mean(typical_price, 20, lookback) as typical_mean_20,
        rolling_mean_deviation(typical_price, 20, lookback) as typical_deviation_20,
        lagged(close, 5, lookback) as close_5_ago,
        lagged(close, 10, lookback) as close_10_ago,
        lagged(close, 20, lookback) as close_20_ago,

        -- bands and channels
        rolling_std_pop(close, 20, lookback) as deviation_20,
        rolling_max(high, 20, lookback) as donchian_upper_20,
        rolling_min(low, 20, lookback) as donchian_lower_20,

        -- volume
        rolling_sum(money_flow, 20, lookback) as money_flow_20,
        rolling_sum(priced_volume, 20, lookback) as priced_volume_20,
        rolling_sum(positive_flow, 14, lookback) as positive_flow_14,
        rolling_sum(negative_flow, 14, lookback) as negative_flow_14,
        rolling_mean(volume, 20, lookback) as volume_mean_20,
        rolling_std(volume, 20, lookback) as volume_deviation_20,

        -- returns and risk
        rolling_std(log_return_1, 5, lookback) as return_deviation_5,
        rolling_std(log_return_1, 20, lookback) as return_deviation_20,
        return_deviation_60,
        rolling_mean(parkinson_term, 20, lookback) as parkinson_mean_20,
        rolling_mean(garman_klass_term, 20, lookback) as garman_klass_mean_20,
        market_covariance_60,
        market_variance_60
    from stochastics

),

computed as (

    select *
    from windows
    inner join recursions using (symbol, interval)
    inner join recursions_of_recursions using (symbol, interval)

),

by_row as (

    {{ as_rows('computed') }}

),

indicators as (

    select
        *,

        -- momentum: a quotient of at most 1 is taken first, so that no rounding leaves the range of 100
        100 * {{ ratio('average_gain_14', 'average_gain_14 + average_loss_14') }} as rsi_14,
        case when macd_signal is not null then macd_line end as macd,
        macd_line - macd_signal as macd_hist,
        case when stoch_d_3 is not null then k end as stoch_k_14,
        case
            when highest_14 > lowest_14 then -100 * ((highest_14 - close) / (highest_14 - lowest_14))
            when highest_14 <= lowest_14 then 0e0
        end as williams_r_14,
        case
            when typical_deviation_20 > 0 then (typical_price - typical_mean_20) / (0.015e0 * typical_deviation_20)
            when typical_deviation_20 = 0 then 0e0
        end as cci_20,
        {%- for n in [5, 10, 20] %}
        case when close_{{ n }}_ago = 0 then 0e0 else 100 * (close / close_{{ n }}_ago - 1) end as roc_{{ n }},
        {%- endfor %}
        close - close_10_ago as momentum_10,
        100 * {{ ratio('plus_dm_sum_14', 'range_sum_14') }} as plus_di_14,
        100 * {{ ratio('minus_dm_sum_14', 'range_sum_14') }} as minus_di_14,

        -- bands and channels
        sma_20 as bb_middle_20,
        sma_20 + 2 * deviation_20 as bb_upper_20,
        sma_20 - 2 * deviation_20 as bb_lower_20,
        (close - sma_20 + 2 * deviation_20) / nullif(4 * deviation_20, 0) as bb_percent_b_20,
        4 * deviation_20 / nullif(sma_20, 0) as bb_bandwidth_20,
        case when close = 0 then 0e0 else 100 * atr_14 / close end as natr_14,
        ema_20 + 2 * atr_10 as keltner_upper_20,
        ema_20 - 2 * atr_10 as keltner_lower_20,

        -- volume
        money_flow_20 / nullif(priced_volume_20, 0) as vwap_20,
        case
            when positive_flow_14 + negative_flow_14 >= 1
                then 100 * (positive_flow_14 / (positive_flow_14 + negative_flow_14))
            when positive_flow_14 + negative_flow_14 < 1 then 0e0
        end as mfi_14,
        (volume - volume_mean_20) / nullif(volume_deviation_20, 0) as volume_zscore_20,

        -- returns and risk
        {{ log_ratio('close', 'close_5_ago') }} as log_return_5,
        {{ log_ratio('close', 'close_20_ago') }} as log_return_20,
        {%- for n in [5, 20, 60] %}
        return_deviation_{{ n }} * sqrt(bars_a_year) as realized_vol_{{ n }},
        {%- endfor %}
        sqrt(parkinson_mean_20 / (4 * ln(2e0)) * bars_a_year) as parkinson_vol_20,
        case when garman_klass_mean_20 >= 0 then sqrt(garman_klass_mean_20 * bars_a_year) end as garman_klass_vol_20,
        sqrt(ewma_variance) as ewma_vol,
        case when peak > 0 then close / peak - 1 end as drawdown,
        (close - sma_20) / nullif(deviation_20 * sqrt(20e0 / 19), 0) as price_zscore_20,
        market_covariance_60 / nullif(market_variance_60, 0) as beta_60,
        {{ clipped('market_covariance_60 / nullif(return_deviation_60 * sqrt(market_variance_60), 0)', '-1e0', '1e0') }} as corr_60,

        cast(year(ts) as integer) as year
    from by_row

)

-- the columns that indicators.yml describes
select
    {%- for column in columns_of('indicators') %}
    {{ dbt.cast(column.name, column.data_type) }} as {{ column.name }}{{ "," if not loop.last }}
    {%- else %}
    *
    {%- endfor %}
from indicators
