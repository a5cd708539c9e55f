"""What each sub-command does: one file per command, with its flags and its Python function.

Knows nothing of how a policy acts or learns: a command reads input, starts a run and prints.
"""
