{#
  Each column is null in the first rows of a series, before the row number `meta.first_valid_row` of its yml entry, and a
  finite number from there on. Null may also be where its `meta.null_where` (SQL over the row) holds; and anywhere where there
  is no such condition but a `meta.null_rule` other than `warm-up` and `never`: a reason that the row does not show.
  So nothing is made up before a window is full, and no null or NaN in mid-series poisons the rest.

  `numbers`: relation that numbers the rows by symbol, interval and ts, where the model has no columns bar_number and
  volume_number itself.
#}
{% test null_only_in_warmup(model, numbers=none) %}
    {%- set conditions = {} -%}
    {%- for column in tested_model().columns.values() if column.meta.first_valid_row is integer -%}
        {%- set name = column.name -%}
        {%- set is_valid = is_finite(name) if column.data_type == "double" else name ~ " is not null" -%}
        {%- set as_counted = "(bar_number >= " ~ column.meta.first_valid_row ~ ") = coalesce(" ~ is_valid ~ ", false)" -%}
        {%- set null_where = "false" if column.meta.null_rule in ("warm-up", "never") else column.meta.null_where or "true" -%}
        {%- do conditions.update({name: as_counted ~ " or " ~ name ~ " is null and (" ~ null_where ~ ")"}) -%}
    {%- endfor -%}
    {%- set tested -%}
(
    select tested.*{% if numbers %}, numbers.bar_number, numbers.volume_number{% endif %}
    from (select * from {{ model }}) as tested
    {%- if numbers %}
    inner join {{ numbers }} as numbers
        on tested.symbol = numbers.symbol and tested.interval = numbers.interval and tested.ts = numbers.ts
    {%- endif %}
) as numbered
    {%- endset -%}
    {{ rows_that_break(conditions, tested) }}
{% endtest %}
