"""The daemon: who lives where, who is alive, and sealed envelopes carried between them."""
