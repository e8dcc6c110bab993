{# Time goes forward without holes: two neighbouring sessions of a series lie at most `days` apart. #}
{% test no_gap_longer_than(model, days) %}
select
    symbol,
    interval,
    ts,
    ts - lag(ts) over (partition by symbol, interval order by ts) as gap
from {{ model }}
qualify gap > interval {{ days }} day
{% endtest %}
