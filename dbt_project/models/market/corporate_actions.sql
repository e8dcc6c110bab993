-- All of a symbol, where its delivered actions change, one of them takes effect with a new bar, or the bars are more
-- than the next ones of one source without a step of adj_close / close, and without more decimals than those before.
{{ config(unique_key=['symbol', 'interval', 'kind', 'ts'], changed_by={
    'raw/bars': "
        select symbol, interval, null as ts
        from (" ~ recent_bars() ~ ")
        where interval = '1d'
        group by symbol, interval
        having
            bool_or(is_new and coalesce(abs(adjustment / previous_adjustment - 1) > 1e-6, true))
            or max(" ~ decimals('adj_close') ~ ") filter (is_new) > max(" ~ decimals('adj_close') ~ ") filter (not is_new)
            or bool_or(is_passed)
            or count(distinct source) > 1
    ",
    'market/bars': "
        select symbol, interval, null as ts
        from (" ~ bar_before_changes() ~ ") as changed
        inner join raw.corporate_actions as actions using (symbol)
        where interval = '1d' and coalesce(actions.ts > previous_ts, true)
    ",
    'raw/corporate_actions': "select symbol, '1d' as interval, null as ts from changes",
    'raw/instruments': "
        select symbol, '1d' as interval, null as ts
        from (" ~ changed_instruments(['source', 'fallbacks']) ~ ")
    ",
}) }}

-- Splits and dividends, from one source per symbol: as it delivers them, else as its adjusted closes imply them.
with instruments as (

    select
        symbol,
        source as preferred_source,
        fallbacks
    from {{ source('raw', 'instruments') }}

),

-- Delivered: by the preferred source, or by a file, which extends or corrects it.
delivered as (

    select
        actions.*,
        'delivered' as origin
    from {{ ref('stg_corporate_actions') }} as actions
    semi join (
        select symbol
        from {{ scope(ref('bars')) }}
        where interval = '1d'
    ) as scope using (symbol)
    left join instruments using (symbol)
    where actions.source in (coalesce(preferred_source, 'file'), 'file')

),

closes as (

    select
        symbol,
        ts,
        lag(ts) over (partition by symbol order by ts) as previous_ts,
        lag(close) over (partition by symbol order by ts) as previous_close
    from {{ scoped(ref('bars')) }}
    where interval = '1d'

),

-- An action takes effect with the first session that is not before its date; until there is one it is only announced.
delivered_factors as (

    select
        delivered.symbol,
        delivered.ts,
        kind,
        value,
        currency,
        source,
        batch_id,
        ingested_at,
        origin,
        case
            when kind = 'dividend' then if(value < previous_close, 1 - value / previous_close, null)
            when source in ('{{ var("split_adjusted_sources") | join("', '") }}') then 1
            else 1 / value
        end as factor
    from delivered
    inner join closes
        on delivered.symbol = closes.symbol and delivered.ts > closes.previous_ts and delivered.ts <= closes.ts
    where previous_close is not null

),

-- Implied: a step of adj_close / close that is larger than the rounding of adj_close can make it.
rounding as (

    select
        symbol,
        source,
        case
            {%- for decimals in range(7) %}
            when bool_and(round(adj_close, {{ decimals }}) = adj_close) then {{ "%.7f" % (0.5 * 10 ** -decimals) }}
            {%- endfor %}
            else 0
        end as largest_error
    from {{ scoped(ref('stg_bars')) }}
    where interval = '1d'
    group by symbol, source
    having bool_or(adj_close <> close)

),

adjustments as (

    select
        *,
        lag(close) over series as previous_close,
        adj_close / close / lag(adj_close / close) over series as step,
        largest_error / adj_close + largest_error / lag(adj_close) over series + 1e-6 as tolerance
    from {{ scoped(ref('stg_bars')) }}
    inner join rounding using (symbol, source)
    where interval = '1d'
    window series as (partition by symbol, source order by ts)

),

steps as (

    select
        *,
        greatest(step, 1 / step) as ratio,
        round(ratio * 12) / 12 as simple_ratio,
        ratio >= 1.2 and abs(ratio / simple_ratio - 1) <= tolerance + 1e-4 as is_split
    from adjustments
    where abs(step - 1) > tolerance

),

-- Of several sources always the same one, whatever bars come: the preferred one, else the first fallback, else by name.
implied as (

    select
        symbol,
        ts,
        if(is_split, 'split', 'dividend') as kind,
        case
            when is_split then if(step > 1, simple_ratio, 1 / simple_ratio)
            when source in ('{{ var("reinvesting_sources") | join("', '") }}') then round((step - 1) * close, 6)
            else round((1 - 1 / step) * previous_close, 6)
        end as value,
        if(is_split, null, currency) as currency,
        source,
        batch_id,
        ingested_at,
        'implied' as origin,
        1 / step as factor
    from steps
    left join instruments using (symbol)
    where is_split or step > 1
    qualify dense_rank() over (
        partition by symbol
        order by
            (source = preferred_source) desc nulls last,
            nullif(array_position(split(fallbacks, ','), source), 0) asc nulls last,
            source asc
    ) = 1

),

candidates as (

    select * from delivered_factors
    union all
    select *
    from implied
    where symbol not in (
        select delivered.symbol
        from delivered
        where delivered.source <> 'file'
    )

)

select
    -- key
    symbol,
    '1d' as interval,
    kind,
    ts,

    -- what happened
    value,
    currency,
    factor,

    -- where it comes from
    origin,
    source,
    batch_id,
    ingested_at,
    cast(year(ts) as integer) as year
from candidates
-- an action whose latest version has the value 0 is withdrawn
qualify row_number() over (
    partition by symbol, kind, ts
    order by origin = 'delivered' desc, ingested_at desc, source = 'file' asc, source asc
) = 1 and value > 0
