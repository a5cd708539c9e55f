"""What can be wrong with a machine, a cluster or an environment before a long run, as checks."""
