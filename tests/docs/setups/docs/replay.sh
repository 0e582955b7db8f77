mkdir bundles
cp -r "$SHOP/data/shop" my-shop
cp -r "$SHOP/bundles/din" bundles/new
cp -r "$SHOP/bundles/lr" bundles/old
