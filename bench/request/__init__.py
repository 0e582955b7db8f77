"""Load on a service under measurement."""
