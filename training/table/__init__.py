"""Activation table of a bundle: choose the pairs of items, and compute their weights."""
