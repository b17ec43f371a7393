"""Quality engines: DuckDB."""
