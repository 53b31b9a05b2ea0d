"""Where work runs: Ray on this machine or an existing cluster."""
