"""One worker process: a socket of its own, live agents, and the threads that run them."""
