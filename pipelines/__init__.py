"""Pipelines: they only connect the outputs of steps to the inputs of others."""
