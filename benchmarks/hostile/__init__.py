"""Peers that do harm, in processes of their own: what a polite client is measured beside.

They speak to the daemon and the workers by plain sockets, so that they can stop in the middle of
anything, cost little themselves, and are bound by nothing that a client library bounds.
"""
