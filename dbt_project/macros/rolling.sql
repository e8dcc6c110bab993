{# An aggregate over the last `rows` rows of the window `series`; null while it would see fewer values than that. #}
{% macro rolling(aggregate, column, rows) -%}
    {%- set frame = "(series rows between " ~ (rows - 1) ~ " preceding and current row)" -%}
    (case when count({{ column }}) over {{ frame }} = {{ rows }} then {{ aggregate }}({{ column }}) over {{ frame }} end)
{%- endmacro %}
