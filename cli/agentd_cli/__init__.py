"""The two commands: ``agentd`` runs the daemon, ``agentctl`` talks to one.

Parse, call, render; no decisions. Only public names of agentd are used here, and agentd and rich
are imported where they are needed, so that ``--help`` and shell completion answer at once.
"""
