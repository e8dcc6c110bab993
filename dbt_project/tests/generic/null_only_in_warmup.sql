{#
  Each column is null in the first rows of a series, before the row number `meta.first_valid_row` of its yml entry, and a
  finite number from there on; where its `meta.null_rule` is neither `warm-up` nor `never`, it may be null there too, for the
  reason given.
  So nothing is made up before a window is full, and no null or NaN in mid-series poisons the rest.

  `numbers`: relation that numbers the rows by symbol, interval and ts, where the model has no column bar_number itself.
#}
{% test null_only_in_warmup(model, numbers=none) %}
    {%- set conditions = {} -%}
    {%- for column in tested_model().columns.values() if column.meta.first_valid_row is integer -%}
        {%- set name = column.name -%}
        {%- set is_valid = is_finite(name) if column.data_type == "double" else name ~ " is not null" -%}
        {%- set warm = "bar_number >= " ~ column.meta.first_valid_row -%}
        {%- if column.meta.null_rule in ("warm-up", "never") -%}
            {%- do conditions.update({name: "(" ~ warm ~ ") = coalesce(" ~ is_valid ~ ", false)"}) -%}
        {%- else -%}
            {%- do conditions.update({name: name ~ " is null or " ~ warm ~ " and " ~ is_valid}) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- set tested -%}
(
    select tested.*{% if numbers %}, numbers.bar_number{% endif %}
    from (select * from {{ model }}) as tested
    {%- if numbers %}
    inner join {{ numbers }} as numbers
        on tested.symbol = numbers.symbol and tested.interval = numbers.interval and tested.ts = numbers.ts
    {%- endif %}
) as numbered
    {%- endset -%}
    {{ rows_that_break(conditions, tested) }}
{% endtest %}
