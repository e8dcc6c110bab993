{# The recursion of `lake/recursion.py` over a list of one symbol's values, with the seeds of TA-Lib. #}

{# Exponential moving average: alpha = 2 / (period + 1), seeded by the mean of the first `period` values. #}
{% macro ema(values, period) -%}
    smooth({{ values }}, 2e0 / {{ period + 1 }}, {{ period }}, 0, null)
{%- endmacro %}

{# Wilder's smoothing: alpha = 1 / period, seeded by the mean of the first `period` values. #}
{% macro wilder(values, period) -%}
    smooth({{ values }}, 1e0 / {{ period }}, {{ period }}, 0, null)
{%- endmacro %}
