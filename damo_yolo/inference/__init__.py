"""Running a detector, in whatever form it was exported, on images."""
