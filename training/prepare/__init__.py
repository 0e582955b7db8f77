"""Public raw files to dataset directories: schema.toml, impressions, items and users."""
