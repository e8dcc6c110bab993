{#
  Recursions over the lists of a series (lake/recursion.py), seeded as in TA-Lib. Each becomes the column `name`, which is
  its own state: `stored` has the value before the first of the rows to build, `lookback` tells how many rows come before.
#}

{# y + alpha (x - y), y the last value, seeded by the mean of the first `warmup` values. #}
{% macro smooth(values, alpha, warmup, name) -%}
    smooth({{ values }}, {{ alpha }}, {{ warmup }}, lookback, {{ stored(name) }}) as {{ name }}
{%- endmacro %}

{# Exponential moving average: alpha = 2 / (n + 1), seeded by the mean of the first n values. #}
{% macro ema(values, n, name) -%}
    {{ smooth(values, "2e0 / " ~ (n + 1), n, name) }}
{%- endmacro %}

{# Wilder's smoothing: alpha = 1 / n, seeded by the mean of the first n values. #}
{% macro wilder(values, n, name) -%}
    {{ smooth(values, "1e0 / " ~ n, n, name) }}
{%- endmacro %}

{# Wilder's running sum over n rows, of which DI and ADX are made. #}
{% macro wilder_sum(values, n, name) -%}
    wilder_sum({{ values }}, {{ n }}, lookback, {{ stored(name) }}) as {{ name }}
{%- endmacro %}

{# Sum of all values so far. #}
{% macro running_sum(values, name) -%}
    running_sum({{ values }}, lookback, {{ stored(name) }}) as {{ name }}
{%- endmacro %}

{# Greatest value so far. #}
{% macro running_max(values, name) -%}
    running_max({{ values }}, lookback, {{ stored(name) }}) as {{ name }}
{%- endmacro %}

{% macro stored(name) -%}
    {{ "stored." ~ name if is_scoped() else "cast(null as double)" }}
{%- endmacro %}
