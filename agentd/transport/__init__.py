"""The only room that touches zmq: endpoints, the private run folder, sockets many threads share."""
