{# No series is calmer than one basis point a day: the floor keeps ratios and logarithms finite. Null stays null. #}
{% macro floored(volatility) -%}
    if({{ volatility }} < 1e-4, 1e-4, {{ volatility }})
{%- endmacro %}

{# Log of the daily volatility over the last `rows` rows: the root mean square of the log returns. #}
{% macro log_vol(squared_return, rows) -%}
    ln({{ floored("sqrt(" ~ rolling("avg", squared_return, rows) ~ ")") }})
{%- endmacro %}
