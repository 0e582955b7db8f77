"""Many networks, several seeds, one budget, one table."""
