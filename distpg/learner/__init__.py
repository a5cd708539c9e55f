"""How trajectories become a better policy."""
