#!/usr/bin/env bash
# A Ray head with a dashboard on this machine, in the foreground.
set -euo pipefail
# shellcheck source=infra/local/settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
need ray 'set the environment up: make .venv/.installed-run'
need_free "$ray_port" DAMO_YOLO_RAY_PORT
need_free "$dashboard_port" DAMO_YOLO_DASHBOARD_PORT

# Ray listens on every interface and executes what it is sent, so it asks for a token.
mkdir -p "$services_dir"
[ -s "$services_dir/ray_token" ] || (umask 077 && random 32 >"$services_dir/ray_token")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$services_dir/ray_token" RAY_USAGE_STATS_ENABLED=0
export MALLOC_ARENA_MAX=1 # as damo_yolo/compute/ray_cluster.py has it
# What Ray runs inherits the head's environment: the way to the object store, where there is one.
if [ -s "$services_dir/keys" ]; then
  set -a
  # shellcheck source=/dev/null
  source "$services_dir/keys"
  export AWS_ENDPOINT_URL="http://127.0.0.1:$s3_port" AWS_DEFAULT_REGION=us-east-1
  set +a
fi
exec ray start --head --block --port "$ray_port" \
  --dashboard-host 127.0.0.1 --dashboard-port "$dashboard_port"
