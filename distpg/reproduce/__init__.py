"""`reproduce`: a published table is trained, measured, and compared with what others report.

A table is a TOML file. Its runs are ordinary `distpg train` runs, each in a process of its own.
"""
