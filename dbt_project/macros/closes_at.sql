{#
  The rows of `bars` (symbol, asset_class, currency, interval, ts and any other column) with the exchange `calendar` of
  their symbol and the time `closes_at` from which a bar is known: an intraday bar when it is over, a daily one when its
  session closes, outside of the sessions at midnight UTC. Where the calendar is not known, the bar itself is taken for
  known late and what it may know for early: the market index closes at the end of its day, all else at the start.
#}
{% macro closes_at(bars) -%}
(
    select
        listed.*,
        case
            when listed.interval <> '1d' then {{ plus_seconds('listed.ts', seconds('listed.interval')) }}
            when sessions.closes_at is not null then sessions.closes_at
            when listed.calendar is not null or listed.symbol = '{{ var("market_index") }}'
                then listed.ts + interval 1 day
            else listed.ts
        end as closes_at
    from (
        select
            bars.*,
            coalesce(instruments.calendar, default_calendar(bars.asset_class, bars.currency)) as calendar
        from {{ bars }} as bars
        left join {{ source('raw', 'instruments') }} as instruments
            on bars.symbol = instruments.symbol
    ) as listed
    left join {{ source('raw', 'sessions') }} as sessions
        on listed.calendar = sessions.calendar and listed.ts = sessions.ts
)
{%- endmacro %}
