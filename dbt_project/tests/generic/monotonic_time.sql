{#
  Time goes on within a series: in order of `ts` its rows are numbered upwards by the column `number` or, without one, no
  bar starts before the one before it has ended.
#}
{% test monotonic_time(model, series, number=none) %}
with tested as (

    select * from {{ model }}

),

pairs as (

    select
        *,
        lag({{ number or "ts" }}) over (partition by {{ series | join(", ") }} order by ts) as previous
    from tested

)

select *
from pairs
{%- if number %}
where {{ number }} <= previous
{%- else %}
where ts < previous + to_seconds({{ seconds("interval") }})
{%- endif %}
{% endtest %}
