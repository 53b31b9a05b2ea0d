"""Tests, their builders and the oracles they compare with."""
