"""What `make wheel` puts beside the wheel: what is in it, and where it comes from."""
