"""Whole runs, several at a time: each is an ordinary run, in a process of its own.

`distpg train --seeds`, `distpg reproduce` and `distpg tune` bring their runs to the end with it.
"""
