"""Hyperparameter files of rl-zoo3, translated to settings."""
