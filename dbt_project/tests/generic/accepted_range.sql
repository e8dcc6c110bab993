{# Values lie within the bounds, both included (`exclusive: true`: neither); null passes. #}
{% test accepted_range(model, column_name, min_value=none, max_value=none, exclusive=false) %}
{%- set equals = "" if exclusive else "=" %}
select *
from {{ model }}
where not (
    {{ column_name }} is null
    or (
        {{ column_name }} >{{ equals }} {{ "'-infinity'::double" if min_value is none else min_value }}
        and {{ column_name }} <{{ equals }} {{ "'infinity'::double" if max_value is none else max_value }}
    )
)
{% endtest %}
