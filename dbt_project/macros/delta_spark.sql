{# The materialization `delta` (delta.sql) on Spark, through lake/spark_dbt.py. #}
{% materialization delta, adapter="spark" %}
    {%- set target = this.incorporate(type="view") -%}

    {{ run_hooks(pre_hooks) }}

    {% if config.get("contract").enforced %}
        {{ get_assert_columns_equivalent(sql) }}
        {%- set sql = get_select_subquery(sql) -%}
    {% endif %}
    {% set table = target.schema ~ "/" ~ target.identifier %}
    {% set written = adapter.store(table, sql, {"unique_key": config.require("unique_key"), "partition_by": config.get("partition_by", [])}) %}
    {% set message = "rows: " ~ written.rows ~ ", slices: " ~ written.slices %}
    {% do store_raw_result("main", message=message, code=none, rows_affected=written.rows) %}

    {{ run_hooks(post_hooks) }}

    {{ return({"relations": [target]}) }}
{% endmaterialization %}

{# Contracts name types as DuckDB does. #}
{% macro spark__cast(field, type) -%}
    cast({{ field }} as {{ {"varchar": "string", "timestamp with time zone": "timestamp"}.get(type, type) }})
{%- endmacro %}
