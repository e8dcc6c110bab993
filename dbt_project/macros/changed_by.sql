{#
  For the SQL of `changed_by`, of changes in raw/instruments: the symbols (once or twice) of which any of these columns,
  those that the model reads, is not what it was. An edited row is there before and after; where both agree, nothing follows.
#}
{% macro changed_instruments(columns) -%}
    select symbol
    from changes
    group by symbol, {{ columns | join(", ") }}
    having count(*) = 1
{%- endmacro %}

{# For the SQL of `changed_by`, where every series looks at the market index: the symbol, or all where it is the index. #}
{% macro index_for_all() -%}
    if(symbol = '{{ var("market_index") }}', null, symbol) as symbol
{%- endmacro %}
