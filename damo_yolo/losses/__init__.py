"""What a prediction costs, given what it was assigned to detect."""
