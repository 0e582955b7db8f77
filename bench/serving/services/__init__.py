"""What people serve such a network with today; each is started as a process of its own."""
