"""From TOML, or what looks like it, to values: keys, what they may be, and every mistake with its place."""
