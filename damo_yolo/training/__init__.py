"""Training on one machine or many: Ray stays in `worker` and `launch`."""
