{# Length of a bar in seconds. #}
{% macro seconds(interval) -%}
    (case {{ interval }} when '1d' then 86400 when '1h' then 3600 when '1m' then 60 end)
{%- endmacro %}

{# Bars that a year has: 252 sessions of 6.5 hours, for crypto 365 days of 24 hours. #}
{% macro bars_per_year(interval, asset_class) -%}
    (case
        when {{ interval }} = '1d' then if({{ asset_class }} = 'crypto', 365, 252)
        else if({{ asset_class }} = 'crypto', 365 * 24, 252 * 6.5) * 3600 / {{ seconds(interval) }}
    end)
{%- endmacro %}

{# Bars that a span of time has, a last shorter one included; none where it ends before it starts. #}
{% macro bars_between(start, stop, seconds) -%}
    ceil(greatest({{ seconds_between(start, stop) }}, 0) / {{ seconds }})
{%- endmacro %}
