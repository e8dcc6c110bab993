{#
  For the SQL of `changed_by`, of series with changes in raw/bars: their rows from 30 days before the first change on. New
  ones (`is_new`) beside those that were known, of which `is_passed` ones are not older than the first new one: then
  something is corrected or comes late. `previous_*` are those of the row before, of the same source; null for the first.
#}
{% macro recent_bars() -%}
    select
        bars.*,
        changes.symbol is not null as is_new,
        not is_new and bars.ts >= min(if(is_new, bars.ts, null)) over (partition by bars.symbol, bars.interval) as is_passed,
        bars.adj_close / bars.close as adjustment,
        lag(adjustment) over (
            partition by bars.symbol, bars.interval, bars.source order by bars.ts, bars.ingested_at
        ) as previous_adjustment,
        lag(bars.close) over (
            partition by bars.symbol, bars.interval, bars.source order by bars.ts, bars.ingested_at
        ) as previous_close
    from raw.bars as bars
    semi join changes as touched
        on bars.symbol = touched.symbol and bars.interval = touched.interval
    left join changes
        on
            bars.symbol = changes.symbol and bars.interval = changes.interval and bars.ts = changes.ts
            and bars.source = changes.source and bars.batch_id = changes.batch_id
            and bars.ingested_at = changes.ingested_at
    where bars.ts >= getvariable('first_change') - interval 30 days
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
