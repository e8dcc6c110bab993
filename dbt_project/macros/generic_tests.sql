{# What the generic tests in tests/generic are written with. #}

{# Rows in which a condition is false. `conditions` maps names to SQL; the column `broken` tells the names. #}
{% macro rows_that_break(conditions, relation) -%}
select
    concat_ws(
        ', '
        {%- for name, condition in conditions.items() %},
        case when not ({{ condition }}) then '{{ name }}' end
        {%- endfor %}
    ) as broken,
    *
from {{ relation }}
where
    {%- for condition in conditions.values() %}
    {{ "or " if not loop.first }}not ({{ condition }})
    {%- endfor %}
{%- endmacro %}

{# Neither infinite nor NaN, which is greater than all numbers; null for null. #}
{% macro is_finite(number) -%}
    abs({{ number }}) < cast('infinity' as double)
{%- endmacro %}

{# The model that the test in hand stands at. #}
{% macro tested_model() -%}
    {{ return(graph.nodes[model.attached_node] if execute else {"columns": {}}) }}
{%- endmacro %}

{# That model whole, where the test is given a part of it. #}
{% macro tested_relation() -%}
    {{ return(ref(tested_model().name) if execute else this) }}
{%- endmacro %}

{#
  Newest bar of each source that goes on. A source whose series all end by declaration (raw/instruments.ends_at) is not
  among them: it is complete, not late.
#}
{% macro live_sources(bars) -%}
select bars.source, max(bars.ts) as newest
from {{ bars }} as bars
inner join {{ source('raw', 'instruments') }} as instruments
    on bars.symbol = instruments.symbol and bars.source = instruments.source
where instruments.ends_at is null
group by bars.source
{%- endmacro %}

{# When each provider last brought anything new. What is generated or dropped as a file need not go on. #}
{% macro providers_of(relation) -%}
select source, max(ingested_at) as newest
from {{ relation }}
where source not in ('synthetic', 'file')
group by source
{%- endmacro %}
