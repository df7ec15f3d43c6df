"""Image registration in the service of the treatment couch."""
