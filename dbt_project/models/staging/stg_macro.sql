-- What was known of each country's economy: one row a country and moment at which anything new became known.
with versions as (

    select
        *,
        row_number() over (partition by series, source, ts order by ingested_at, batch_id) as version
    from {{ source('raw', 'macro') }}

),

-- A source that says on which day it published a value says not when on that day: it counts as known when the day is
-- over. Of one that dates nothing, the first version that the lake has counts as known after the usual delay, with whatever
-- the source had revised by the time it was read, and any later one when it came.
dated as (

    select
        series,
        ts as period,
        value,
        case
            when released_at is not null then released_at + interval 1 day
            when version > 1 then ingested_at
            {%- for columns in var('macro_series').values() %}{% for of in columns.values() | sum(start=[]) %}
            when series = '{{ of.series }}' then least(ts + interval {{ of.delay }} day, ingested_at)
            {%- endfor %}{% endfor %}
            else ingested_at
        end as known_at,
        released_at is not null as is_dated,
        ingested_at,
        batch_id
    from versions
    qualify row_number() over (
        partition by series, source, ts, coalesce(released_at, ingested_at)
        order by ingested_at desc, batch_id desc
    ) = 1

),

named as (

    {%- for country, columns in var('macro_series').items() %}
    {%- set is_last_country = loop.last %}
    {%- for name, measures in columns.items() %}
    {%- set is_last_name = loop.last %}
    {%- for of in measures %}
    select
        '{{ country }}' as country,
        '{{ name }}' as name,
        {{ 'true' if of.months else 'false' }} as is_level,
        period - interval {{ of.months or 0 }} month as compared_period,
        dated.*
    from dated
    where series = '{{ of.series }}'
    {{ 'union all' if not (loop.last and is_last_name and is_last_country) }}
    {%- endfor %}
    {%- endfor %}
    {%- endfor %}

),

-- What nobody has dated, as it ships with a package, counts until the first release of a source that dates its values.
counted as (

    select *
    from named
    qualify
        is_dated
        or coalesce(known_at < min(case when is_dated then known_at end) over (partition by country, name), true)

),

-- The newest period that was known at each moment, as it was known then.
newest as (

    select *
    from counted
    qualify
        period = max(period) over (partition by country, name order by known_at)
        and row_number() over (
            partition by country, name, known_at
            order by period desc, ingested_at desc, batch_id desc
        ) = 1

),

-- Percentages as fractions; of a level its change, against the value some months before as it was known at that moment.
measured as (

    select
        newest.country,
        newest.name,
        newest.period,
        newest.known_at,
        case when newest.is_level then newest.value / earlier.value - 1 else newest.value / 100 end as value
    from newest
    left join counted as earlier
        on newest.country = earlier.country
        and newest.name = earlier.name
        and newest.is_level
        and earlier.known_at <= newest.known_at
        and earlier.period between newest.compared_period - interval 10 day and newest.compared_period
    qualify row_number() over (
        partition by newest.country, newest.name, newest.known_at
        order by earlier.period desc nulls last, earlier.known_at desc, earlier.ingested_at desc, earlier.batch_id desc
    ) = 1

),

{%- set names = macro_names() %}

published as (

    select
        country,
        known_at
        {%- for name in names %},
        max(case when name = '{{ name }}' then value end) as {{ name }},
        max(case when name = '{{ name }}' and value is not null then period end) as {{ name }}_period
        {%- endfor %}
    from measured
    group by country, known_at

)

select
    country,
    known_at
    {%- for name in names %},
    max_by({{ name }}, case when {{ name }} is not null then known_at end) over known as {{ name }},
    max({{ name }}_period) over known as {{ name }}_period
    {%- endfor %}
from published
window known as (partition by country order by known_at)
