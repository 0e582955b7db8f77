"""Faults provoked for real under steady load: `make chaos`.

A real service with two workers, a real Redis, real sockets, all on 127.0.0.1 and all ended in the end. Every answer is
compared with a formula, so that a wrong one counts as a failure like a missing one. docs/reliability.md has the
promises.
"""
