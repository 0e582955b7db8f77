"""Diagnostics of a network, in numbers, for `report.json` and the HTML report."""
