"""How a run is checked, set up, saved, guarded, resumed and summarized: the run directory.

Knows nothing of sub-commands, nor of how actions or updates are computed.
"""
