"""How trajectories turn into a better policy."""
