{#
  Tests read what nobody has tested yet: the slices of a table that were written since all its tests last passed. What failed
  is read again the next time. `where` of a test's config narrows it further.
#}
{% macro get_where_subquery(relation) -%}
    {%- set conditions = [] -%}
    {%- if config.get("where") -%}
        {%- do conditions.append(config.get("where")) -%}
    {%- endif -%}
    {%- if execute and target.type == "duckdb" -%}
        {%- set asked = {} -%}
        {%- do adapter.store_relation("dbt_plugin", relation, [], relation.schema ~ "/" ~ relation.identifier, "untested", asked) -%}
        {%- do conditions.append(asked.predicate or "true") -%}
    {%- endif -%}
    {%- if conditions -%}
        (select * from {{ relation }} where ({{ conditions | join(") and (") }}))
    {%- else -%}
        {{ relation }}
    {%- endif -%}
{%- endmacro %}

{# At the end of a run: remember of which tables all tests have passed. #}
{% macro remember_tests(results) -%}
    {%- if execute and target.type == "duckdb" -%}
        {%- set passed, missed = [], [] -%}
        {%- for result in results if result.node.resource_type == "test" and result.status == "pass" -%}
            {%- do passed.append(result.node.unique_id) -%}
        {%- endfor -%}
        {%- for test in graph.nodes.values() if test.resource_type == "test" and test.unique_id not in passed -%}
            {%- do missed.extend(test.depends_on.nodes) -%}
        {%- endfor -%}
        {%- for node in (graph.nodes.values() | list) + (graph.sources.values() | list) -%}
            {%- if passed and node.unique_id not in missed and node.config.materialized != "ephemeral" and node.resource_type in ("model", "source") -%}
                {%- do adapter.store_relation("dbt_plugin", none, [], node.schema ~ "/" ~ node.name, "tested", {}) -%}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro %}
