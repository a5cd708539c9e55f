"""Settings of all tests."""

from hypothesis import settings

settings.register_profile("distpg", derandomize=True, deadline=None, max_examples=50, database=None)
settings.load_profile("distpg")
