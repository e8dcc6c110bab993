-- All of a series, where the bars are more than the next ones of one source, or a year may be one of repeated opens.
{{ config(changed_by={'raw/bars': "
    select symbol, interval, null as ts
    from (" ~ recent_bars() ~ ")
    group by symbol, interval
    having
        bool_or(
            is_new and interval = '1d' and asset_class <> 'crypto'
            and coalesce(open = previous_close, previous_close is null)
        )
        or bool_or(is_new and adj_close <> close) and not bool_or(not is_new and adj_close <> close)
        or bool_or(is_passed)
        or count(distinct source) > 1
    union all
    select symbol, interval, null as ts
    from changes
    semi join (select * from stored where finding = 'open_repeats_close') as repeated using (symbol, interval, year)
"}) }}

-- Where sources contradict each other, or themselves. Returns are compared: levels differ by adjustment.
with delivered as (

    select * from {{ scoped(ref('stg_bars')) }}

),

covered_twice as (

    select
        symbol,
        interval
    from delivered
    group by symbol, interval
    having count(distinct source) > 1

),

candidates as (

    select
        *,
        -- a source one of whose closes is not its adjusted close has unadjusted closes
        bool_or(abs(adj_close / close - 1) > 1e-9) over (partition by symbol, interval, source) as is_unadjusted
    from delivered
    semi join covered_twice using (symbol, interval)

),

shared as (

    select
        a.symbol,
        a.interval,
        a.ts,
        a.year,
        a.source as source_a,
        b.source as source_b,
        a.is_unadjusted and b.is_unadjusted as are_unadjusted,
        ln(a.adj_close / lag(a.adj_close) over pair) as adj_a,
        ln(b.adj_close / lag(b.adj_close) over pair) as adj_b,
        ln(a.close / lag(a.close) over pair) as close_a,
        ln(b.close / lag(b.close) over pair) as close_b,
        count(*) over (partition by a.symbol, a.interval, a.source, b.source, a.year) as bars_compared
    from candidates as a
    inner join candidates as b
        on a.symbol = b.symbol and a.interval = b.interval and a.ts = b.ts and a.source < b.source
    window pair as (partition by a.symbol, a.interval, a.source, b.source order by a.ts)

),

returns as (

    select
        shared.*,
        'adjusted_return_differs' as finding,
        shared.adj_a as value_a,
        shared.adj_b as value_b
    from shared

    union all

    select
        shared.*,
        'close_return_differs' as finding,
        shared.close_a as value_a,
        shared.close_b as value_b
    from shared
    where shared.are_unadjusted

),

differing_returns as (

    select
        symbol,
        interval,
        ts,
        finding,
        source_a,
        source_b,
        value_a,
        value_b,
        value_b - value_a as difference,
        1 as bars,
        bars_compared,
        year
    from returns
    where abs(value_b - value_a) > {{ var('reconciliation_tolerance') }}

),

-- An open that often equals the close before it is made up. Crypto never closes, so there it is the rule.
opens as (

    select
        symbol,
        interval,
        ts,
        year,
        source,
        open = lag(close) over (partition by symbol, interval, source order by ts) as repeats
    from delivered
    where interval = '1d'
    -- the close before is that of any bar: these are left out after `lag`
    qualify open is not null and asset_class <> 'crypto'

),

repeated_opens as (

    select
        symbol,
        interval,
        min(ts) filter (where repeats) as ts,
        'open_repeats_close' as finding,
        source as source_a,
        source as source_b,
        cast(null as double) as value_a,
        cast(null as double) as value_b,
        cast(null as double) as difference,
        count(*) filter (where repeats) as bars,
        count(*) as bars_compared,
        year
    from opens
    group by symbol, interval, source, year
    having count(*) filter (where repeats) >= greatest(10, 0.15 * count(*))

),

findings as (

    select * from differing_returns
    union all
    select * from repeated_opens

)

select
    -- key
    symbol,
    interval,
    ts,
    finding,
    source_a,
    source_b,

    -- what differs
    value_a,
    value_b,
    difference,
    bars,
    bars_compared,

    year
from findings
