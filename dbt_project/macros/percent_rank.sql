{#
  Percent rank of a value among all bars of its length and `ts` that close with it, and agree on the columns `among`: the
  share of the others that are lower, and half of those that are equal. Null for a null, which the others do not count;
  0.5 for a value that is alone. With `ts`, as what never closes and what opens then would meet at midnight else: the rank
  of a day would change with the next one.
#}
{% macro percent_rank(column, among=[]) -%}
    {%- set group = "partition by " ~ (["interval", "ts", "closes_at", "closes_with"] + among) | join(", ") -%}
    {%- set ordered = "(" ~ group ~ " order by " ~ column ~ " nulls last)" -%}
    case
        when {{ column }} is not null and count({{ column }}) over ({{ group }}) = 1 then 0.5
        when {{ column }} is not null
            -- those below, and those below or equal
            then (rank() over {{ ordered }} - 1 + round(cume_dist() over {{ ordered }} * count(*) over ({{ group }})) - 1)
                / (2e0 * (count({{ column }}) over ({{ group }}) - 1))
    end
{%- endmacro %}
