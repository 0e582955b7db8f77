"""Half an hour of steady load on a real service, and what it does to memory, files, connections and latency."""
