{# Conditions are true in every row in which they are not null. `conditions` maps a name to SQL; `broken` has names. #}
{% test holds(model, conditions) %}
    {{ rows_that_break(conditions, model) }}
{% endtest %}
