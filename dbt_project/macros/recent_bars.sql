{#
  For the SQL of `changed_by`, of series with changes in raw/bars: their rows from 30 days before the first change on. New
  ones (`is_new`) beside those that were known, of which `is_passed` ones are not older than the first new one: then
  something is corrected or comes late. All are passed where a row is gone, which appending never does. `previous_*` are
  those of the row before, of the same source; null for the first.
#}
{% macro recent_bars() -%}
    select
        touched.symbol,
        touched.interval,
        bars.* exclude (symbol, interval),
        changes.symbol is not null as is_new,
        count(changes.symbol) over (partition by touched.symbol, touched.interval) < touched.changed_rows
        or not is_new
        and bars.ts >= min(if(is_new, bars.ts, null)) over (partition by touched.symbol, touched.interval) as is_passed,
        bars.adj_close / bars.close as adjustment,
        lag(adjustment) over (
            partition by bars.symbol, bars.interval, bars.source order by bars.ts, bars.ingested_at, bars.batch_id
        ) as previous_adjustment,
        lag(bars.close) over (
            partition by bars.symbol, bars.interval, bars.source order by bars.ts, bars.ingested_at, bars.batch_id
        ) as previous_close
    from (select symbol, interval, count(*) as changed_rows from changes group by symbol, interval) as touched
    left join raw.bars as bars
        on
            touched.symbol = bars.symbol and touched.interval = bars.interval
            and bars.ts >= getvariable('first_change') - interval 30 days
    left join changes
        on
            bars.symbol = changes.symbol and bars.interval = changes.interval and bars.ts = changes.ts
            and bars.source = changes.source and bars.batch_id = changes.batch_id
            and bars.ingested_at = changes.ingested_at
{%- endmacro %}

{# Decimals that a number needs, 7 for more than six. #}
{% macro decimals(number) -%}
    (case
        {%- for decimals in range(7) %}
        when round({{ number }}, {{ decimals }}) = {{ number }} then {{ decimals }}
        {%- endfor %}
        else 7
    end)
{%- endmacro %}

{#
  For the SQL of `changed_by`, of series with changes in market/bars: `first_ts`, their first change, and `previous_ts`, the
  bar before it; null where there is none within 30 days.
#}
{% macro bar_before_changes() -%}
    select
        changed.symbol,
        changed.interval,
        changed.first_ts,
        max(bars.ts) as previous_ts
    from (select symbol, interval, min(ts) as first_ts from changes group by symbol, interval) as changed
    left join market.bars as bars
        on
            changed.symbol = bars.symbol and changed.interval = bars.interval and bars.ts < changed.first_ts
            and bars.ts >= getvariable('first_change') - interval 30 days
    group by all
{%- endmacro %}
