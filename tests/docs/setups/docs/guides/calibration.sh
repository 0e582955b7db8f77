cp -r "$SHOP/data" "$SHOP/bundles" "$SHOP/options.toml" .
