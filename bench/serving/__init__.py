"""Scoring and the whole service, compared with common alternatives. Run it with `python -m bench.serving`."""
