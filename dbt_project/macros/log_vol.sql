{# No series is calmer than one basis point a day: the floor keeps ratios and logarithms finite. Null stays null. #}
{% macro floored(volatility) -%}
    if({{ volatility }} < 1e-4, 1e-4, {{ volatility }})
{%- endmacro %}

{# Log of the volatility of a bar: the root of the mean of squared log returns. #}
{% macro log_vol(mean_square) -%}
    ln({{ floored("sqrt(" ~ mean_square ~ ")") }})
{%- endmacro %}
