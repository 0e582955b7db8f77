"""Where a network is right and wrong, in numbers: what `report.json` holds and the HTML report draws."""
