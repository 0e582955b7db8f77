# What the page on training ends with, and bundles for the commands that only mention them.
source "$(dirname "${BASH_SOURCE[0]}")/training.sh"
cp -r bundles/my-shop-2 bundles/my-shop
cp -r bundles/my-shop-2 bundles/next
cp -r "$SHOP/bundles/din" bundles/din
cp -r "$SHOP/bundles/lr" bundles/dien
python -m service publish --bundle bundles/my-shop --data earlier --redis "redis://127.0.0.1:$REDIS_PORT"
