"""Where records live: the durable log (SQLite), the analytical history (DuckDB), and the codec."""
