{#
  Recursions over the lists of a series (lake/recursion.py), with the seeds of TA-Lib. Each is a column `name` that is its
  own state: `stored.<name>` is its value before the first of the rows to build, of which `lookback` come before.
#}

{# Exponential moving average: alpha = 2 / (n + 1), seeded by the mean of the first n values. #}
{% macro ema(values, n, name) -%}
    smooth({{ values }}, 2e0 / {{ n + 1 }}, {{ n }}, lookback, stored.{{ name }}) as {{ name }}
{%- endmacro %}

{# Wilder's smoothing: alpha = 1 / n, seeded by the mean of the first n values. #}
{% macro wilder(values, n, name) -%}
    smooth({{ values }}, 1e0 / {{ n }}, {{ n }}, lookback, stored.{{ name }}) as {{ name }}
{%- endmacro %}

{# Wilder's running sum over n rows, of which DI and ADX are made. #}
{% macro wilder_sum(values, n, name) -%}
    wilder_sum({{ values }}, {{ n }}, lookback, stored.{{ name }}) as {{ name }}
{%- endmacro %}

{# Sum of all values so far. #}
{% macro running_sum(values, name) -%}
    running_sum({{ values }}, lookback, stored.{{ name }}) as {{ name }}
{%- endmacro %}

{# Greatest value so far. #}
{% macro running_max(values, name) -%}
    running_max({{ values }}, lookback, stored.{{ name }}) as {{ name }}
{%- endmacro %}
