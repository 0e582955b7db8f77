"""A team's own logs, CSV or Parquet, to a dataset directory."""
