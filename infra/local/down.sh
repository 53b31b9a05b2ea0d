#!/usr/bin/env bash
# Stop what up.sh started, and nothing else. Data stays in runs/services.
set -euo pipefail
# shellcheck source=infra/local/settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

for service in ray-head mlflow object-store; do
  file="$services_dir/$service.pid"
  [ -f "$file" ] || continue
  pid="$(cat "$file")"
  kill -TERM -- "-$pid" 2>/dev/null || true
  for _ in $(seq 45); do # Ray drains for up to 30 seconds
    kill -0 "$pid" 2>/dev/null || break
    sleep 1
  done
  if kill -0 "$pid" 2>/dev/null; then
    echo "error: $service (process $pid) does not stop" >&2
    echo "  fix: kill -KILL -- -$pid" >&2
    exit 2
  fi
  rm -f "$file"
  echo "$service is stopped"
done
rm -f "$services_dir/env"
