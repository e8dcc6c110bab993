{#
  Each column is null in exactly its first rows of a series and a finite number in all others: nothing is made up before
  a window is full, and no null or NaN in mid-series poisons the rest. `columns` maps a column to its number of nulls.
#}
{% test null_only_in_warmup(model, columns) %}
with numbered as (

    select *, row_number() over (partition by symbol, interval order by ts) as bar_number
    from {{ model }}

)

{% for column, nulls in columns.items() %}
select symbol, interval, ts, '{{ column }}' as column_name, {{ column }} as value
from numbered
where (bar_number > {{ nulls }}) <> coalesce(isfinite({{ column }}), false)
{{ "union all" if not loop.last }}
{% endfor %}
{% endtest %}
