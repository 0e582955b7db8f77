# A log with the column names of README's command, and bundles for those that it only mentions.
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
mkdir bundles
cp -r "$SHOP/bundles/din" bundles/din
cp -r "$SHOP/bundles/lr" bundles/dien
python -m training prepare logs --impressions clicks.csv --items items.csv --map user_id=uid --map clicked=label earlier
python -m training train --data earlier --model lr --epochs 1 --out bundles/my-shop-2
cp -r bundles/my-shop-2 bundles/next
