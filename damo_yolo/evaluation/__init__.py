"""How good and how fast a detector is: detections, average precision, latency."""
