"""`OUT.report.html`: what `OUT.report.json` says, as one page with figures that opens without a network."""
