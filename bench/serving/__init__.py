"""Scoring and the whole service, measured beside what people write today. Run it with `python -m bench.serving`."""
