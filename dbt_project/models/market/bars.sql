{{ config(changed_by={
    'raw/bars': 'select symbol, interval, ts from changes',
    'raw/flags': 'select symbol, interval, ts from changes',
    'raw/instruments': "
        select symbol, null as interval, null as ts
        from (" ~ changed_instruments(['source', 'fallbacks']) ~ ")
    ",
}) }}

-- One true bar per symbol and session, from one source per symbol, adjusted forwards.
with delivered as (

    select * from {{ known_at(scoped(source('raw', 'bars')), ['symbol', 'interval', 'ts', 'source']) }}

),

instruments as (

    select
        symbol,
        source as preferred_source,
        fallbacks
    from {{ source('raw', 'instruments') }}

),

-- A file extends or corrects the preferred source; it is the only source of a symbol without an instrument.
-- A fallback fills what the preferred source did not deliver.
candidates as (

    select
        delivered.*,
        delivered.source in (coalesce(instruments.preferred_source, 'file'), 'file') as is_direct,
        ',' || coalesce(instruments.fallbacks, '') || ',' like '%,' || delivered.source || ',%' as is_fallback
    from delivered
    left join instruments using (symbol)

),

chosen as (

    select *
    from candidates
    where is_direct or is_fallback
    qualify row_number() over (
        partition by symbol, interval, ts
        order by is_direct desc, ingested_at desc, batch_id desc
    ) = 1

),

-- Relative to the first bar, so that a later split or dividend never changes an earlier price.
adjustments as (

    select
        *,
        adj_close / close as adjustment,
        first_value(adj_close / close) over (partition by symbol, interval order by ts) as first_adjustment
    from chosen

),

adjusted as (

    select
        adjustments.*,
        coalesce(stored.base_adjustment, first_adjustment) as base_adjustment
    from adjustments
    left join {{ stored_state(['base_adjustment']) }} as stored
        on adjustments.symbol = stored.symbol and adjustments.interval = stored.interval

),

flagged as (

    select
        batch_id,
        symbol,
        interval,
        ts,
        {{ comma_separated('rule') }} as flags
    from {{ scoped(source('raw', 'flags')) }}
    group by all

)

select
    -- key
    symbol,
    asset_class,
    interval,
    ts,

    -- as delivered
    open,
    high,
    low,
    close,
    adj_close,
    volume,
    currency,

    -- adjusted forwards, relative to the first bar
    base_adjustment,
    adjustment / base_adjustment as adj_factor,
    open * adj_factor as open_adj,
    high * adj_factor as high_adj,
    low * adj_factor as low_adj,
    close * adj_factor as close_adj,

    -- what looks wrong
    flags,

    -- where it comes from
    source,
    batch_id,
    ingested_at,
    year
from adjusted
left join flagged using (batch_id, symbol, interval, ts)
