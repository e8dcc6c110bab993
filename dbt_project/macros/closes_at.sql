{#
  The rows of `bars` (symbol, asset_class, currency, interval, ts and any other column) with the exchange `calendar` of
  their symbol and the time `closes_at` from which a bar is known: an intraday bar when it is over, a daily one when its
  session closes. A daily bar without a known session is itself taken for known late and what it may know for early: the
  market index closes at the end of its day (midnight UTC), all else at the start. Of these bars `closes_with` is the calendar
  or else the currency: two of them are known to close together only where it is the same. Null where the close is known.
#}
{% macro closes_at(bars) -%}
(
    select
        listed.*,
        case
            when listed.interval <> '1d' then {{ plus_seconds('listed.ts', seconds('listed.interval')) }}
            when sessions.closes_at is not null then sessions.closes_at
            when listed.symbol = '{{ var("market_index") }}' then listed.ts + interval 1 day
            else listed.ts
        end as closes_at,
        case
            when listed.interval = '1d' and sessions.closes_at is null then coalesce(listed.calendar, listed.currency)
        end as closes_with
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
