{#
  Columns of a model, as its yml describes them; with `state`, those that its next build goes on from (`meta.state`).
  None in a unit test, to which dbt does not tell them.
#}
{% macro columns_of(name, state=false) -%}
    {%- set found = [] -%}
    {%- for node in graph.get("nodes", {}).values() if node.resource_type == "model" and node.name == name -%}
        {%- for column in node.columns.values() if column.meta.state or not state -%}
            {%- do found.append(column) -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}
