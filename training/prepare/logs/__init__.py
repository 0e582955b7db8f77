"""Prepare a dataset directory from a team's own logs, CSV or Parquet."""
