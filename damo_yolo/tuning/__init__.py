"""Sweeps: which settings vary, one trial as one training, Ray Tune, and the honest verdict."""
