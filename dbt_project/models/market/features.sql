{%- set lags = [1, 2, 3, 5, 10] -%}
{%- set hourly, daily = [7, 25, 99], [7, 25] -%}
{%- set asset_classes = ['equity', 'index', 'etf', 'commodity', 'volatility', 'crypto'] -%}
{%- set sectors = [
    'energy', 'materials', 'industrials', 'consumer_discretionary', 'consumer_staples', 'health_care', 'financials',
    'information_technology', 'communication_services', 'utilities', 'real_estate',
] -%}
{{ config(
    lookback=252,
    warm="interval = '1d'",
    changed_by={
        'market/bars': "select " ~ index_for_all() ~ ", interval, ts from changes",
        'market/indicators': "select " ~ index_for_all() ~ ", interval, ts from changes",
        'market/cross_section': 'select symbol, interval, ts from changes',
        'raw/macro': 'select null as symbol, null as interval, coalesce(released_at, ts) as ts from changes',
        'raw/news': "select symbol, null as interval, date_trunc('day', ts) as ts from changes",
        'raw/instruments': "
            select " ~ index_for_all() ~ ", null as interval, null as ts
            from (" ~ changed_instruments(['calendar', 'sector']) ~ ")
        ",
        'raw/sessions': 'select null as symbol, null as interval, ts from changes',
    },
) }}

-- What models read: causal, free of scale, null while a window is not full.
with history as (

    select
        symbol,
        asset_class,
        currency,
        interval,
        ts,
        close_adj as close,
        close as last_price,
        ln(close_adj) as log_close,
        ln(close_adj / lag(close_adj) over series) as log_return_1,
        pow(ln(close_adj / lag(close_adj) over series), 2) as squared_return,
        is_lookback,
        is_lookback and lead(is_lookback) over series as is_early,
        year
    from {{ scoped(ref('bars'), lookback=true) }}
    window series as (partition by symbol, interval order by ts)

),

zones as (

    select
        calendar,
        max(timezone) as timezone
    from {{ source('raw', 'sessions') }}
    group by calendar

),

-- The bars to build and the one before them, with the times at which they close.
closing as (

    select
        bars.*,
        {{ country('bars.calendar', 'bars.currency') }} as country,
        coalesce(zones.timezone, 'UTC') as timezone,
        lead(bars.ts) over (partition by bars.symbol, bars.interval order by bars.ts) as next_ts
    from {{ closes_at('(select * from history where not coalesce(is_early, is_lookback))') }} as bars
    left join zones using (calendar)

),

own as (

    select
        bars.symbol,
        bars.asset_class,
        bars.interval,
        bars.ts,
        bars.close,
        bars.last_price,
        bars.calendar,
        bars.country,
        case when bars.interval = '1d' then bars.ts else {{ start_of_day('bars.ts', 'bars.timezone') }} end as day,
        bars.closes_at,
        bars.year,
        {{ floored('indicators.ewma_vol') }} as ewma_vol,
        indicators.log_return_1,
        indicators.log_return_5,
        indicators.log_return_20,
        indicators.rsi_14,
        indicators.macd_hist,
        indicators.bb_percent_b_20,
        indicators.bb_bandwidth_20,
        indicators.sma_5,
        indicators.sma_20,
        indicators.sma_50,
        indicators.sma_200
    from closing as bars
    inner join {{ scoped(ref('indicators')) }} as indicators
        on bars.symbol = indicators.symbol and bars.interval = indicators.interval and bars.ts = indicators.ts
    where not bars.is_lookback

),

-- Windows over the bars of a series.
lookbacks as (

    {{ lookback_of('history') }}

),

lists as (

    {{ as_lists('history', ['ts', 'close', 'log_close', 'log_return_1', 'squared_return']) }}

),

windows as (

    select
        symbol,
        interval,
        {{ without_first('ts', 'lookback') }} as ts,
        {%- for n in lags %}
        lagged(log_return_1, {{ n }}, lookback) as log_return_1_lag_{{ n }},
        {%- endfor %}
        {%- for n in [5, 20, 60] %}
        rolling_mean(squared_return, {{ n }}, lookback) as mean_square_{{ n }},
        {%- endfor %}
        rolling_max(close, 252, lookback) as highest_252,
        rolling_mean(log_close, 60, lookback) as log_mean_60,
        rolling_wma(log_close, 60, lookback) as log_wma_60
    from lists
    inner join lookbacks using (symbol, interval)

),

rolled as (

    {{ as_rows('windows') }}

),

-- Of intraday bars, those at the same minute of every hour, and at the same time of every day by the exchange's clock.
intraday as (

    select
        symbol,
        interval,
        ts,
        close,
        minute(clock) as minute_of_hour,
        60 * hour(clock) + minute(clock) as minute_of_day
    from (
        select
            history.*,
            {{ local_time('history.ts', 'series.timezone') }} as clock
        from history
        inner join (select distinct symbol, interval, timezone from closing where interval <> '1d') as series
            on history.symbol = series.symbol and history.interval = series.interval
    )

),

{%- for unit, minute, rows in [('h', 'minute_of_hour', hourly), ('d', 'minute_of_day', daily)] %}

lists_{{ unit }} as (

    {{ as_lists('intraday', ['ts', 'close'], by=['symbol', 'interval', minute]) }}

),

windows_{{ unit }} as (

    select
        symbol,
        interval,
        ts,
        {%- for n in rows %}
        rolling_mean(close, {{ n }}, 0) as ma_{{ n }}{{ unit }}{{ "," if not loop.last }}
        {%- endfor %}
    from lists_{{ unit }}

),

rolled_{{ unit }} as (

    {{ as_rows('windows_' ~ unit) }}

),
{%- endfor %}

-- News since the close of the bar before; a headline that comes back with another time is news again.
headlines as (

    select
        series.symbol,
        series.interval,
        news.headline,
        news.ts as closes_at
    from {{ source('raw', 'news') }} as news
    inner join (select distinct symbol, interval from closing) as series
        on news.symbol = series.symbol
    where news.ts >= (select min(closes_at) from closing)
    qualify row_number() over (
        partition by series.symbol, series.interval, news.source, news.id, news.ts
        order by news.ingested_at, news.batch_id
    ) = 1

),

news as (

    select
        closing.symbol,
        closing.interval,
        closing.next_ts as ts,
        avg(headline_sentiment(headlines.headline)) as news_sentiment,
        cast(count(*) as integer) as news_count
    from headlines
    {{ asof_left_join('headlines', 'closing', ['symbol', 'interval'], 'closes_at') }}
    where closing.next_ts is not null
    group by closing.symbol, closing.interval, closing.next_ts

),

market as (

    select * from {{ ref('stg_market') }}

),

economy as (

    select * from {{ ref('stg_macro') }}

)

select
    -- key
    own.symbol,
    own.asset_class,
    own.interval,
    own.ts,

    -- prices
    own.close,
    own.last_price,

    -- returns, plain and in units of the day's volatility
    own.log_return_1,
    own.log_return_5,
    own.log_return_20,
    own.log_return_1 / own.ewma_vol as scaled_return_1,
    own.log_return_5 / (own.ewma_vol * sqrt(5)) as scaled_return_5,
    own.log_return_20 / (own.ewma_vol * sqrt(20)) as scaled_return_20,

    -- volatility
    ln(own.ewma_vol) as log_ewma_vol,
    {{ log_vol('rolled.mean_square_5') }} as log_vol_5,
    {{ log_vol('rolled.mean_square_20') }} as log_vol_20,
    {{ log_vol('rolled.mean_square_60') }} as log_vol_60,

    -- momentum
    own.rsi_14 / 100 - 0.5 as rsi_14_centered,
    own.macd_hist / own.close / own.ewma_vol as macd_hist_scaled,
    own.bb_percent_b_20,
    own.bb_bandwidth_20,

    -- distance from trend and peak
    ln(own.close / own.sma_20) as close_to_sma_20,
    ln(own.close / own.sma_50) as close_to_sma_50,
    ln(own.close / own.sma_200) as close_to_sma_200,
    ln(own.close / rolled.highest_252) as drawdown_252,

    -- the market at its last bar that had closed when this one did
    market.market_scaled_return_1,
    market.market_scaled_return_5,
    market.market_log_ewma_vol,
    market.market_log_vol_20,
    own.ts > market.ts as market_filled,

    -- earlier returns
    {%- for n in lags %}
    rolled.log_return_1_lag_{{ n }},
    {%- endfor %}

    -- trend: moving averages against each other in units of the day's volatility, and the close against a straight line
    {%- for fast, slow in [('close', 'sma_5'), ('close', 'sma_20'), ('sma_5', 'sma_20'), ('sma_20', 'sma_50'), ('sma_50', 'sma_200')] %}
    (own.{{ fast }} - own.{{ slow }}) / (own.close * own.ewma_vol) as {{ fast }}_minus_{{ slow }},
    {%- endfor %}
    ln(own.close) - (3 * rolled.log_wma_60 - 2 * rolled.log_mean_60) as detrended_60,

    -- where the bar stands among all others that close with it
    ranks.rank_return_1,
    ranks.rank_momentum_20,
    ranks.rank_volatility_20,
    ranks.rank_volume,
    ranks.rank_liquidity,

    -- calendar
    {{ weekday('own.day') }} as day_of_week,
    cast(month(own.day) as integer) as month,
    cast(quarter(own.day) as integer) as quarter,
    cast(day(last_day(own.day)) - day(own.day) as integer) as days_to_month_end,
    cast({{ seconds_between('sessions.previous_holiday', 'sessions.ts') }} / 86400 as integer) as days_since_holiday,
    cast({{ seconds_between('sessions.ts', 'sessions.next_holiday') }} / 86400 as integer) as days_to_holiday,

    -- what it is
    {%- for asset_class in asset_classes %}
    cast(own.asset_class = '{{ asset_class }}' as integer) as is_{{ asset_class }},
    {%- endfor %}
    {%- for sector in sectors %}
    cast(coalesce(instruments.sector = '{{ sector }}', false) as integer) as sector_{{ sector }},
    {%- endfor %}

    -- the economy, as it was known
    {%- for name in macro_names() %}
    case when own.closes_at < economy.{{ name }}_period + interval 400 day then economy.{{ name }} end as {{ name }},
    {%- endfor %}

    -- news since the bar before (experimental)
    news.news_sentiment,
    coalesce(news.news_count, 0) as news_count,

    -- intraday: mean of the last closes at the same time
    {%- for n in hourly %}
    rolled_h.ma_{{ n }}h,
    {%- endfor %}
    {%- for n in daily %}
    rolled_d.ma_{{ n }}d,
    {%- endfor %}

    own.ewma_vol,
    own.year
from own
inner join rolled
    on own.symbol = rolled.symbol and own.interval = rolled.interval and own.ts = rolled.ts
left join {{ scoped(ref('cross_section')) }} as ranks
    on own.symbol = ranks.symbol and own.interval = ranks.interval and own.ts = ranks.ts
left join {{ source('raw', 'instruments') }} as instruments
    on own.symbol = instruments.symbol
left join {{ source('raw', 'sessions') }} as sessions
    on own.calendar = sessions.calendar and own.day = sessions.ts
left join news
    on own.symbol = news.symbol and own.interval = news.interval and own.ts = news.ts
{%- for unit in ['h', 'd'] %}
left join rolled_{{ unit }}
    on own.symbol = rolled_{{ unit }}.symbol and own.interval = rolled_{{ unit }}.interval and own.ts = rolled_{{ unit }}.ts
{%- endfor %}
{{ asof_left_join('own', 'market', ['interval'], 'closes_at') }}
{{ asof_left_join('own', 'economy', ['country'], 'closes_at', 'known_at') }}
