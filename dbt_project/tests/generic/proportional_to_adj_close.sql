{# Within a series, back-adjusted closes are the source's own adjusted closes, times one number. #}
{% test proportional_to_adj_close(model, bars) %}
select
    symbol,
    interval,
    min(model.close / bars.adj_close) as least,
    max(model.close / bars.adj_close) as most
from {{ model }} as model
join {{ bars }} as bars using (symbol, interval, ts)
group by symbol, interval
having most / least > 1 + 1e-9
{% endtest %}
