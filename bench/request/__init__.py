"""What the measurements of a request share: a bundle, a filled Redis, a served process, bodies to send."""
