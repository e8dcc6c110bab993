{#
  Values are finite and within their range; null passes. `columns` maps a column to its range as SQL has it
  (`"> 0"`, `between 0 and 100`); `broken` names the columns that are outside.
#}
{% test accepted_range(model, columns) %}
    {%- set conditions = {} -%}
    {%- for column, range in columns.items() -%}
        {%- do conditions.update({column: column ~ " " ~ range ~ " and " ~ is_finite(column)}) -%}
    {%- endfor -%}
    {{ rows_that_break(conditions, model) }}
{% endtest %}
