"""The dbt project on Spark, two executors of it: row by row the tables that DuckDB makes, built whole and increment by increment."""
