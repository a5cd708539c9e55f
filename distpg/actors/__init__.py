"""The run's processes on Ray: the only folder that imports ray."""
