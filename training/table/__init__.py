"""The activation table of a bundle: which pairs of items it holds, and their weights."""
