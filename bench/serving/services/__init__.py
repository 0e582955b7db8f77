"""Alternative services for such a network; each is started as a process of its own."""
