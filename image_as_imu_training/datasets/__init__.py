"""Material for rendering, read from disk, and the shards that rendered samples are kept in."""
