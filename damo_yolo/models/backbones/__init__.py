"""Backbones found by MAE-NAS, one file per family; their structures are tables in JSON."""
