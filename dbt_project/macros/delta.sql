{#
  Materialization `delta`: lake/increments.py brings the model's Delta table up to date, in one commit of what changed; then
  a view of the new version takes the model's name, so that models and tests later in the same run read what was written.
  dbt reports the rows that were written or are gone. `--full-refresh` builds all of it anew; `--empty` leaves the lake alone.
#}
{% materialization delta, default %}
    {%- set relation = this.incorporate(type="view") -%}

    {{ run_hooks(pre_hooks) }}

    {% if config.get("contract").enforced %}
        {{ get_assert_columns_equivalent(with_empty_scope(sql)) }}
        {%- set sql = get_select_subquery(sql) -%}
    {% endif %}

    {% if flags.EMPTY %}
        {% call statement("main") %}
            create or replace {{ "temporary" if target.type == "spark" }} view {{ relation }} as ({{ sql }})
        {% endcall %}
        {{ adapter.commit() }}
    {% else %}
        {% set columns = {} %}
        {% for name, column in model.columns.items() %}
            {% do columns.update({name: column.data_type}) %}
        {% endfor %}
        {% if not config.get("changed_by") %}
            {{ exceptions.raise_compiler_error(this.name ~ " does not say in its config what it is `changed_by`, see macros/scope.sql") }}
        {% endif %}
        {% set build = {
            "model": {
                "sql": sql,
                "columns": columns,
                "key": config.require("unique_key"),
                "changed_by": config.get("changed_by"),
                "partition_by": config.get("partition_by", []),
                "lookback": config.get("lookback", 0),
                "warm": config.get("warm", "true"),
                "across_symbols": config.get("across_symbols", false),
                "sparse": config.get("sparse", false),
            },
            "full_refresh": should_full_refresh(),
        } %}
        {% do adapter.store_relation(
            plugin_name="dbt_plugin",
            relation=relation,
            column_list=[],
            path=relation.schema ~ "/" ~ relation.identifier,
            format="build",
            config=build,
        ) %}
        {% set message = "rows: " ~ build.rows ~ ", removed: " ~ build.removed ~ ", slices: " ~ build.slices %}
        {% do store_raw_result("main", message=message, code=none, rows_affected=build.rows + build.removed) %}
    {% endif %}

    {{ run_hooks(post_hooks) }}

    {{ return({"relations": [relation]}) }}
{% endmaterialization %}
