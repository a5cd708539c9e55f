"""What acts: normalizer, encoders, heads, action distributions."""
