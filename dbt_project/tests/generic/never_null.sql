{# Each of `columns` has a value in every row; `broken` names those that have none. #}
{% test never_null(model, columns) %}
    {%- set conditions = {} -%}
    {%- for column in columns -%}
        {%- do conditions.update({column: column ~ " is not null"}) -%}
    {%- endfor -%}
    {{ rows_that_break(conditions, model) }}
{% endtest %}
