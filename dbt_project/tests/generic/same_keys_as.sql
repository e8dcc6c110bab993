{# The model has exactly one row for each row of `upstream`: no row lost, none invented. #}
{% test same_keys_as(model, upstream, columns) %}
select
    count(*) filter (where model.{{ columns[0] }} is null) as lost,
    count(*) filter (where upstream.{{ columns[0] }} is null) as invented
from {{ model }} as model
full join {{ upstream }} as upstream using ({{ columns | join(", ") }})
having lost + invented > 0
{% endtest %}
