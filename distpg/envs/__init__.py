"""The world: one door to gymnasium's, ALE's and the user's environments."""
