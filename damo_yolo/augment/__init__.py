"""Sample -> Sample: geometry, colour, mosaic, mixup, box-level changes, and when each applies."""
