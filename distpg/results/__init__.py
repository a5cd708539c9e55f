"""Runs as they are on disk, finished or not: listed, compared, and drawn as curves.

Nothing here imports torch or Ray.
"""
