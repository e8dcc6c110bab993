{#
  Materialization `delta`: in one commit the model's Delta table gets the rows that changed, told apart by `unique_key`;
  then a view of the new version takes the model's name, so that models and tests later in the same run read what was
  written. dbt reports the rows that were written. With `--empty` the lake is left alone.
#}
{% materialization delta, adapter="duckdb" %}
    {%- set target = this.incorporate(type="view") -%}
    {%- set query = make_intermediate_relation(target) -%}

    {{ run_hooks(pre_hooks) }}

    {% if config.get("contract").enforced %}
        {{ get_assert_columns_equivalent(sql) }}
        {%- set sql = get_select_subquery(sql) -%}
    {% endif %}
    {% call statement("main") %}
        create or replace view {{ target if flags.EMPTY else query }} as (
            {{ sql }}
        )
    {% endcall %}
    {{ adapter.commit() }}

    {% if not flags.EMPTY %}
        {% set table = target.schema ~ "/" ~ target.identifier %}
        {% set written = {"unique_key": config.require("unique_key"), "partition_by": config.get("partition_by", [])} %}
        {% do adapter.store_relation("dbt_plugin", query, [], table, "delta", written) %}
        {% do adapter.drop_relation(query) %}
        {% set message = "rows: " ~ written.rows ~ ", slices: " ~ written.slices %}
        {% do store_raw_result("main", message=message, code=none, rows_affected=written.rows) %}
    {% endif %}

    {{ run_hooks(post_hooks) }}

    {{ return({"relations": [target]}) }}
{% endmaterialization %}
