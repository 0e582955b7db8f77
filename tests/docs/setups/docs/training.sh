# A log, and a bundle to replay against.
source "$(dirname "${BASH_SOURCE[0]}")/../README.sh"
python -m training prepare logs --impressions clicks.csv --items items.csv --map user_id=uid --map clicked=label earlier
python -m training train --data earlier --model lr --epochs 1 --out bundles/my-shop-2
