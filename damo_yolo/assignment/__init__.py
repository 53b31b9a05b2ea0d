"""Which object each anchor point is trained to detect."""
