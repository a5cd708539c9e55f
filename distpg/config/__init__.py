"""Which settings a run has: their names, ranges, defaults, presets, recipes, files and flags.

Knows nothing of what acts on them: no environments, networks, run directories or Ray.
"""
