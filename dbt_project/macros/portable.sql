{#
  What DuckDB and Spark do not write alike. All other SQL of the models is common to both: `group by all`, `qualify`, named
  windows, `if`, `filter (where ...)`, `pow` (not `^`), aliases used in the same select (but not in its window functions).
  Numbers that a function gets are written as `2e0 / 13`: Spark takes `2.0` for a decimal and rounds it.
#}

{# Each series of `relation` as one row of lists, in time order. `columns` are names; nulls keep their place. #}
{% macro as_lists(relation, columns, by=["symbol", "interval"], order="ts") -%}
    {{ adapter.dispatch("as_lists")(relation, columns, by, order) }}
{%- endmacro %}

{# One list of structs sorted by itself takes a third of the time of lists that are each sorted by `order`. #}
{% macro duckdb__as_lists(relation, columns, by, order) -%}
    select
        {{ by | join(", ") }}
        {%- for column in columns %},
        list_transform(series, lambda bar: bar.{{ column }}) as {{ column }}
        {%- endfor %}
    from (
        select
            {{ by | join(", ") }},
            list_sort(list({
                {%- for column in ([order] + columns) | unique %}'{{ column }}': {{ column }}{{ ", " if not loop.last }}{% endfor -%}
            })) as series
        from {{ relation }}
        group by {{ by | join(", ") }}
    )
{%- endmacro %}

{% macro spark__as_lists(relation, columns, by, order) -%}
    select
        {{ by | join(", ") }}
        {%- for column in columns %},
        series.{{ column }} as {{ column }}
        {%- endfor %}
    from (
        select {{ by | join(", ") }}, array_sort(array_agg(struct({{ ([order] + columns) | unique | join(", ") }}))) as series
        from {{ relation }}
        group by {{ by | join(", ") }}
    )
{%- endmacro %}

{# The other way round: the lists of each row of `relation`, all its columns but `by`, as rows. They are of one length. #}
{% macro as_rows(relation, by=["symbol", "interval"]) -%}
    {{ adapter.dispatch("as_rows")(relation, by) }}
{%- endmacro %}

{% macro duckdb__as_rows(relation, by) -%}
    select
        {{ by | join(", ") }},
        unnest(columns(* exclude ({{ by | join(", ") }})))
    from {{ relation }}
{%- endmacro %}

{% macro spark__as_rows(relation, by) -%}
    select
        {{ by | join(", ") }},
        inline(arrays_zip(* except ({{ by | join(", ") }})))
    from {{ relation }}
{%- endmacro %}

{# An expression for each row of a series, in which `high[i]` is that row's entry of the list `high`; `along` is one of them. #}
{% macro each(expression, along="ts") -%}
    {{ adapter.dispatch("each")(expression, along) }}
{%- endmacro %}

{# The index that DuckDB passes to a lambda, as its second parameter, costs more than the expression. #}
{% macro duckdb__each(expression, along) -%}
    list_transform(range(1, len({{ along }}) + 1), lambda i: {{ expression }})
{%- endmacro %}

{% macro spark__each(expression, along) -%}
    transform({{ along }}, (entry, i) -> {{ expression }})
{%- endmacro %}

{#
  A join of each row of `left` with the row of `right` that has the same values `on` and the latest time not after its
  own. Stands behind `from left`; `right` keeps its name.
#}
{% macro asof_left_join(left, right, on, time, right_time=none) -%}
    {{ adapter.dispatch("asof_left_join")(left, right, on, time, right_time or time) }}
{%- endmacro %}

{% macro duckdb__asof_left_join(left, right, on, time, right_time) -%}
    asof left join {{ right }}
        on {% for name in on %}{{ left }}.{{ name }} = {{ right }}.{{ name }} and {% endfor -%}
        {{ left }}.{{ time }} >= {{ right }}.{{ right_time }}
{%- endmacro %}

{# Each time that `left` has is looked up once, however many rows have it. #}
{% macro spark__asof_left_join(left, right, on, time, right_time) -%}
    {%- set keys = on | join(", ") -%}
    left join (
        select asked_at, latest.*
        from (
            select
                {{ keys }},
                time as asked_at,
                is_asked,
                last_value(found, true) over (partition by {{ keys }} order by time, is_asked) as latest
            from (
                select distinct {{ keys }}, {{ time }} as time, true as is_asked, null as found from {{ left }}
                union all
                select {{ keys }}, {{ right_time }} as time, false as is_asked, struct(*) as found from {{ right }}
            )
        )
        where is_asked and latest is not null
    ) as {{ right }}
        on {% for name in on %}{{ left }}.{{ name }} = {{ right }}.{{ name }} and {% endfor -%}
        {{ left }}.{{ time }} = {{ right }}.asked_at
{%- endmacro %}

{# A moment, written in ISO 8601 with its zone. #}
{% macro moment(text) -%}
    {{ adapter.dispatch("moment")(text) }}
{%- endmacro %}

{% macro duckdb__moment(text) -%}
    timestamptz '{{ text }}'
{%- endmacro %}

{% macro spark__moment(text) -%}
    timestamp '{{ text }}'
{%- endmacro %}

{# Seconds from one moment to a later one. #}
{% macro seconds_between(start, stop) -%}
    {{ adapter.dispatch("seconds_between")(start, stop) }}
{%- endmacro %}

{% macro duckdb__seconds_between(start, stop) -%}
    epoch({{ stop }} - {{ start }})
{%- endmacro %}

{% macro spark__seconds_between(start, stop) -%}
    ((unix_micros({{ stop }}) - unix_micros({{ start }})) / 1e6)
{%- endmacro %}

{# The values of a group in one text, sorted. #}
{% macro comma_separated(column) -%}
    {{ adapter.dispatch("comma_separated")(column) }}
{%- endmacro %}

{% macro duckdb__comma_separated(column) -%}
    string_agg({{ column }}, ',' order by {{ column }})
{%- endmacro %}

{% macro spark__comma_separated(column) -%}
    string_agg({{ column }}, ',') within group (order by {{ column }})
{%- endmacro %}

{# A list without its first `count` entries. #}
{% macro without_first(list, count) -%}
    {{ adapter.dispatch("without_first")(list, count) }}
{%- endmacro %}

{% macro duckdb__without_first(list, count) -%}
    list_slice({{ list }}, {{ count }} + 1, len({{ list }}))
{%- endmacro %}

{% macro spark__without_first(list, count) -%}
    slice({{ list }}, {{ count }} + 1, size({{ list }}))
{%- endmacro %}

{# One entry of a list; the first is 1. #}
{% macro entry(list, position) -%}
    {{ adapter.dispatch("entry")(list, position) }}
{%- endmacro %}

{% macro duckdb__entry(list, position) -%}
    list_extract({{ list }}, {{ position }})
{%- endmacro %}

{% macro spark__entry(list, position) -%}
    element_at({{ list }}, {{ position }})
{%- endmacro %}

{# What the clocks of a time zone (IANA name) say at a moment. #}
{% macro local_time(moment, timezone) -%}
    {{ adapter.dispatch("local_time")(moment, timezone) }}
{%- endmacro %}

{% macro duckdb__local_time(moment, timezone) -%}
    ({{ moment }} at time zone {{ timezone }})
{%- endmacro %}

{% macro spark__local_time(moment, timezone) -%}
    from_utc_timestamp({{ moment }}, {{ timezone }})
{%- endmacro %}

{# The day that it is there, at 00:00 UTC. #}
{% macro start_of_day(moment, timezone) -%}
    {{ dbt.cast("cast(" ~ local_time(moment, timezone) ~ " as date)", "timestamp with time zone") }}
{%- endmacro %}

{# Day of the week of a moment in UTC: 1 is Monday, 7 is Sunday. #}
{% macro weekday(moment) -%}
    {{ adapter.dispatch("weekday")(moment) }}
{%- endmacro %}

{% macro duckdb__weekday(moment) -%}
    cast(isodow({{ moment }}) as integer)
{%- endmacro %}

{% macro spark__weekday(moment) -%}
    (weekday({{ moment }}) + 1)
{%- endmacro %}

{# Contracts name types as DuckDB does. #}
{% macro spark__cast(field, type) -%}
    cast({{ field }} as {{ {"varchar": "string", "timestamp with time zone": "timestamp"}.get(type, type) }})
{%- endmacro %}

{# A moment some seconds later. #}
{% macro plus_seconds(moment, seconds) -%}
    {{ adapter.dispatch("plus_seconds")(moment, seconds) }}
{%- endmacro %}

{% macro duckdb__plus_seconds(moment, seconds) -%}
    ({{ moment }} + to_seconds({{ seconds }}))
{%- endmacro %}

{% macro spark__plus_seconds(moment, seconds) -%}
    ({{ moment }} + make_dt_interval(0, 0, 0, {{ seconds }}))
{%- endmacro %}
