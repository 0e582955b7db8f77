"""Comparison of many networks: several seeds, one budget, one table."""
