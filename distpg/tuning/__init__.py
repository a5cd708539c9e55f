"""`tune`: settings are searched with Optuna. A trial is several ordinary runs, a seed each."""
