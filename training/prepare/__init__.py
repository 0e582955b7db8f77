"""Prepare dataset directories from raw files: schema.toml, impressions, items and users."""
