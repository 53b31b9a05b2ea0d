"""One Kubeflow component per stage: one import, one call, metadata. No logic lives here."""
