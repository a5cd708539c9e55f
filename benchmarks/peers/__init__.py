"""What distpg is raced against; each trains once, in the peers' own virtual environment."""
