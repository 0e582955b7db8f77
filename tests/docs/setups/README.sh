# A log with the column names of the command that prepares it.
python - "$SHOP" <<'END'
import csv
import sys
from pathlib import Path

shop = Path(sys.argv[1])
names = {"customer": "uid", "ad": "item_id", "clicked": "label", "at": "timestamp"}
for source, target in (("shown.csv", "clicks.csv"), ("ads.csv", "items.csv")):
    head, *rows = csv.reader((shop / source).open())
    csv.writer(Path(target).open("w")).writerows([[names.get(name, name) for name in head], *rows])
END
