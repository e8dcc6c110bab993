-- From two days before the last bar inside a session before a change on: sessions since then may be missing, one may
-- have begun. All of a series where the 30 days before, which the lookback has, hold no earlier one to count them from.
{{ config(sparse=true, lookback=1, changed_by={
    'market/bars': "
        with touched as (
            select symbol, interval, min(ts) as first_ts
            from changes
            group by symbol, interval
        ),
        recent as (
            select symbol, interval, asset_class, currency, ts from changes
            union all
            select symbol, interval, asset_class, currency, ts
            from market.bars
            where ts >= getvariable('first_change') - interval 30 days
        ),
        listed as (
            select
                recent.*,
                first_ts,
                coalesce(
                    instruments.calendar, default_calendar(recent.asset_class, recent.currency), 'unknown'
                ) as calendar
            from recent
            inner join touched using (symbol, interval)
            left join raw.instruments using (symbol)
            where recent.ts >= first_ts - interval 30 days
        ),
        placed as (
            select
                listed.*,
                listed.ts < first_ts and (
                    interval = '1d' and sessions.ts is not null
                    or listed.ts >= opens_at and listed.ts < least(closes_at, break_starts_at)
                    or listed.ts >= break_ends_at and listed.ts < closes_at
                ) as is_inside,
                if(is_inside, listed.ts, null) as inside_ts
            from listed
            left join raw.sessions
                on listed.calendar = sessions.calendar and date_trunc('day', listed.ts) = sessions.ts
        )
        select
            symbol,
            interval,
            case
                when count(distinct calendar) > 1 then null
                when any_value(calendar) not in (select calendar from raw.sessions) then min(first_ts)
                when min(inside_ts) < max(inside_ts) - interval 4 days
                    then date_trunc('day', max(inside_ts)) - interval 2 days
            end as ts
        from placed
        group by symbol, interval
    ",
    'raw/instruments': "
        select symbol, null as interval, null as ts
        from (" ~ changed_instruments(['calendar']) ~ ")
    ",
    'raw/sessions': "
        select symbol, interval, null as ts
        from (select distinct symbol, interval, asset_class, currency from market.bars) as bars
        left join raw.instruments using (symbol)
        semi join changes
            on changes.calendar = coalesce(instruments.calendar, default_calendar(bars.asset_class, bars.currency))
    ",
}) }}

-- Where bars and exchange calendars disagree: one row per series, day and finding. Unknown calendars expect nothing.
with sessions as (

    select
        *,
        row_number() over (partition by calendar order by ts) as number
    from {{ source('raw', 'sessions') }}

),

calendars as (

    select
        calendar,
        min(ts) as first_session,
        max(ts) as last_session,
        any_value(timezone) as timezone
    from sessions
    group by calendar

),

bars as (

    select
        bars.symbol,
        bars.interval,
        bars.ts,
        {{ seconds('bars.interval') }} as seconds,
        {{ plus_seconds('bars.ts', seconds('bars.interval')) }} as ends_at,
        {{ plus_seconds('bars.ts', seconds('bars.interval')) }} - interval 1 microsecond as last_moment,
        coalesce(instruments.calendar, default_calendar(bars.asset_class, bars.currency)) as calendar
    from {{ scoped(ref('bars'), lookback=true) }} as bars
    left join {{ source('raw', 'instruments') }} as instruments using (symbol)

),

known as (

    select
        bars.*,
        timezone
    from bars
    inner join calendars using (calendar)
    where bars.ts >= first_session and bars.ts < last_session + interval 1 day

),

-- An intraday bar belongs to the last session that has opened before the bar ends.
placed as (

    select
        known.*,
        sessions.ts as session,
        coalesce(known.ts < closes_at, false)
        and not coalesce(known.ts >= break_starts_at and known.ends_at <= break_ends_at, false) as is_inside
    from known
    {{ asof_left_join('known', 'sessions', ['calendar'], 'last_moment', 'opens_at') }}
    where known.interval <> '1d'

),

days as (

    select
        symbol,
        interval,
        calendar,
        seconds,
        known.ts as day,
        cast(number is not null as integer) as inside,
        1 - inside as outside,
        known.ts as first_outside,
        known.ts as starts_at,
        ends_at as stops_at
    from known
    left join sessions using (calendar, ts)
    where interval = '1d'

    union all

    select
        symbol,
        interval,
        calendar,
        seconds,
        if(is_inside, session, {{ start_of_day('ts', 'timezone') }}) as day,
        count(*) filter (where is_inside) as inside,
        count(*) filter (where not is_inside) as outside,
        min(ts) filter (where not is_inside) as first_outside,
        min(ts) as starts_at,
        max(ends_at) as stops_at
    from placed
    group by all

),

-- First and last session of each series; series of daily bars that have all sessions in between end here.
series as (

    select
        days.symbol,
        days.interval,
        days.calendar,
        days.seconds,
        min(sessions.ts) as first_session,
        max(sessions.ts) as last_session,
        min(starts_at) as starts_at,
        max(stops_at) as stops_at
    from days
    inner join sessions
        on days.calendar = sessions.calendar and days.day = sessions.ts
    where inside > 0
    group by all
    having days.interval <> '1d' or max(number) - min(number) + 1 > count(*)

),

{% set opening, closing = "greatest(opens_at, starts_at)", "least(closes_at, stops_at)" %}
-- Bars that a session's hours give, of the first and last session as far as the series reaches.
expected as (

    select
        symbol,
        interval,
        calendar,
        sessions.ts as day,
        cast(case
            when interval = '1d' then 1
            when break_starts_at is null then {{ bars_between(opening, closing, 'seconds') }}
            else
                {{ bars_between(opening, 'least(break_starts_at, stops_at)', 'seconds') }}
                + {{ bars_between('greatest(break_ends_at, starts_at)', closing, 'seconds') }}
        end as bigint) as expected
    from series
    inner join sessions using (calendar)
    where sessions.ts between first_session and last_session

),

missing as (

    select
        symbol,
        interval,
        day,
        if(coalesce(inside, 0) = 0, 'missing_session', 'missing_bars') as finding,
        calendar,
        expected,
        coalesce(inside, 0) as found,
        {{ dbt.cast('null', 'timestamp with time zone') }} as first_at
    from expected
    left join days using (symbol, interval, calendar, day)
    where coalesce(inside, 0) < expected

),

unexpected as (

    select
        symbol,
        interval,
        day,
        if(number is null, 'not_a_session', 'outside_hours') as finding,
        days.calendar,
        0 as expected,
        outside as found,
        first_outside as first_at
    from days
    left join sessions
        on days.calendar = sessions.calendar and days.day = sessions.ts
    where outside > 0

),

findings as (

    select * from missing
    union all
    select * from unexpected

)

select
    -- key
    symbol,
    interval,
    day as ts,
    finding,

    -- what was expected and what there is
    calendar,
    expected,
    found,
    first_at,

    cast(year(day) as integer) as year
from findings
inner join {{ scope(ref('bars')) }} as scope using (symbol, interval)
where day >= scope.first_ts
