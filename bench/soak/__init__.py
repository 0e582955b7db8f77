"""Soak test: half an hour of steady load on a real service, watching memory, files, connections and latency."""
