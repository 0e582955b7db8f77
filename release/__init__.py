"""Supply-chain documents that `make wheel` puts beside the wheel: SBOMs and provenance."""
