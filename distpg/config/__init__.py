"""Settings: declaration, validation, presets, TOML files and command-line flags."""
