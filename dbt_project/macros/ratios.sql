{# Log of a / b; null where one of them has none, as prices that are zero or below. #}
{% macro log_ratio(a, b) -%}
    (case when {{ a }} > 0 and {{ b }} > 0 then ln({{ a }} / {{ b }}) end)
{%- endmacro %}

{# a / b of two averages that are not negative; 0 where b is as good as none, as in TA-Lib. #}
{% macro ratio(a, b) -%}
    (case when {{ b }} > 1e-14 then {{ a }} / ({{ b }}) when {{ b }} <= 1e-14 then 0e0 end)
{%- endmacro %}

{# A number, or the bound that rounding took it beyond; null for null, which `least` and `greatest` would pass over. #}
{% macro clipped(number, low, high) -%}
    (case when {{ number }} < {{ low }} then {{ low }} when {{ number }} > {{ high }} then {{ high }} else {{ number }} end)
{%- endmacro %}
