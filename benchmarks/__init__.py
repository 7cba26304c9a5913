"""How fast agentd is: ``make bench``, and what it is measured against.

Nothing here is part of the package. ``rows/`` has what is measured, ``contestants.py`` by whom;
``floors.py`` is the least that a remote call can cost over bare pyzmq.
"""
