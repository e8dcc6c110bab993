{# Unit tests compare floating-point columns to 8 decimals: the last bits differ between processors. #}
{% macro duckdb__get_unit_test_sql(main_sql, expected_fixture_sql, expected_column_names) -%}
    {%- set types = {} -%}
    {%- for column in adapter.get_column_schema_from_query(main_sql) -%}
        {%- do types.update({adapter.quote(column.name): column.data_type, column.name: column.data_type}) -%}
    {%- endfor -%}
    {%- set columns = [] -%}
    {%- for name in expected_column_names -%}
        {%- do columns.append("round(" ~ name ~ ", 8) as " ~ name if types[name] == "DOUBLE" else name) -%}
    {%- endfor -%}

    select {{ columns | join(", ") }}, 'actual' as actual_or_expected
    from ({{ main_sql }}) as actual
    union all
    select {{ columns | join(", ") }}, 'expected' as actual_or_expected
    from ({{ expected_fixture_sql }}) as expected
{%- endmacro %}
