{# A model lands in exactly the schema that it names: `market.bars` in DuckDB is `market/bars` in the lake. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ custom_schema_name or target.schema }}
{%- endmacro %}
