"""CTR scoring with Deep Interest Network: `dinrank.training` makes bundles, `dinrank.service` ranks ads with them."""
