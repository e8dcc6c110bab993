"""Asset checks that are not dbt's, one file a group."""
