{# Every source that goes on has a bar of the last `days` days; one that has ended by declaration is fresh for ever. #}
{% test fresh(model, days) %}
select *
from ({{ live_sources(tested_relation()) }}) as live
where newest < now() - interval '{{ days }} days'
{% endtest %}
