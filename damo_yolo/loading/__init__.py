"""From shards to batches, for training and for validation."""
