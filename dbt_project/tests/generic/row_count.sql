{#
  The model has as many rows as `upstream`, and each of them is one of `upstream`'s: with a unique key in both, no row is
  lost and none is made up.
#}
{% test row_count(model, upstream, key) %}
with tested as (

    select * from {{ model }}

),

made_up as (

    select 1
    from tested
    left join {{ upstream }} as upstream
        on {% for column in key %}tested.{{ column }} = upstream.{{ column }}{{ " and " if not loop.last }}{% endfor %}
    where upstream.{{ key[0] }} is null

),

counts as (

    select
        (select count(*) from {{ tested_relation() }}) as rows_here,
        (select count(*) from {{ upstream }}) as rows_upstream,
        (select count(*) from made_up) as made_up

)

select *
from counts
where rows_here <> rows_upstream or made_up > 0
{% endtest %}
