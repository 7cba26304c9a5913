"""Makes a remote agent feel like an object."""
