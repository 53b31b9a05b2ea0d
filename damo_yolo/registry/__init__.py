"""The model registry: versions with their lineage, and the gates before an alias moves."""
