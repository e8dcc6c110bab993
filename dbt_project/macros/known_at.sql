{#
  The rows of a bitemporal raw table as they were known at `time` (UTC unless it has a zone; default: now): of each key the
  version that was learned last. Of two learned in the same microsecond the batch with the greater id counts, so that a
  key has one row, always the same.
#}
{% macro known_at(relation, key, time=none) -%}
(
    select *
    from {{ relation }}
    {%- if time is not none %}
    where ingested_at <= {{ moment(time) }}
    {%- endif %}
    qualify row_number() over (
        partition by {{ key | join(", ") }}
        order by ingested_at desc, batch_id desc
    ) = 1
)
{%- endmacro %}
