{# No two rows agree on all of `columns`. #}
{% test unique_combination(model, columns) %}
select {{ columns | join(", ") }}, count(*) as copies
from {{ model }}
group by all
having count(*) > 1
{% endtest %}
