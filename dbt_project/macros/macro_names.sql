{# What the variable `macro_series` measures, in any of its countries. #}
{% macro macro_names() -%}
    {%- set names = [] -%}
    {%- for columns in var("macro_series").values() -%}
        {%- do names.extend(columns) -%}
    {%- endfor -%}
    {{ return(names | unique | list) }}
{%- endmacro %}

{# The country whose economy a bar is seen against: that of its exchange, else that of its currency; null for any other. #}
{% macro country(calendar, currency) -%}
    (case when {{ calendar }} = 'XLIM' or {{ currency }} = 'PEN' then 'PE' when {{ currency }} = 'USD' then 'US' end)
{%- endmacro %}
