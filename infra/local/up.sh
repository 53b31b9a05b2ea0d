#!/usr/bin/env bash
# Start an object store, MLflow and a Ray head on this machine, in the background:
#   infra/local/up.sh [object-store] [mlflow] [ray-head]      none named: all three
#   source runs/services/env                                  the variables that lead to them
# Each is a script of its own beside this one, for the foreground. down.sh stops them.
set -euo pipefail
# shellcheck source=infra/local/settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
[ $# -gt 0 ] || set -- object-store mlflow ray-head
mkdir -p "$services_dir"

port_of() {
  case "$1" in
    object-store) echo "$s3_port" ;;
    mlflow) echo "$mlflow_port" ;;
    ray-head) echo "$dashboard_port" ;;
    *)
      echo "error: no service is called '$1'" >&2
      echo "  fix: name some of: object-store mlflow ray-head" >&2
      exit 2
      ;;
  esac
}

is_up() {
  [ -f "$services_dir/$1.pid" ] && kill -0 "$(cat "$services_dir/$1.pid")" 2>/dev/null
}

# A port of Ray's answers before the node behind it can take work.
says_ready() {
  [ "$1" != ray-head ] || grep -q 'Ray runtime started' "$2"
}

start() {
  local port log="$services_dir/$1.log"
  port="$(port_of "$1")"
  if is_up "$1"; then
    echo "$1 is up already"
    return
  fi
  set -m # a process group each, so that down.sh reaches what the service starts
  nohup "$here/$1.sh" >"$log" 2>&1 </dev/null &
  set +m
  echo $! >"$services_dir/$1.pid"
  for _ in $(seq 120); do
    if ! is_up "$1"; then
      rm -f "$services_dir/$1.pid"
      tail -n 5 "$log" >&2
      exit 2
    fi
    if answers "$port" && says_ready "$1" "$log"; then
      echo "$1 is up at 127.0.0.1:$port"
      return
    fi
    sleep 1
  done
  echo "error: $1 does not answer after 2 minutes" >&2
  echo "  fix: read $log" >&2
  exit 2
}

write_env() {
  {
    echo "# Made by infra/local/up.sh. Source it:  source $services_dir/env"
    if is_up object-store; then
      sed 's/^/export /' "$services_dir/keys"
      echo "export AWS_ENDPOINT_URL=http://127.0.0.1:$s3_port AWS_DEFAULT_REGION=us-east-1"
    fi
    if is_up mlflow; then
      echo "export MLFLOW_TRACKING_URI=http://127.0.0.1:$mlflow_port"
    fi
    if is_up ray-head; then
      echo "export RAY_ADDRESS=127.0.0.1:$ray_port RAY_AUTH_MODE=token"
      echo "export RAY_AUTH_TOKEN_PATH='$services_dir/ray_token'"
    fi
  } | (umask 077 && cat >"$services_dir/env")
}

for service in "$@"; do port_of "$service" >/dev/null; done
for service in "$@"; do start "$service"; done
write_env
if is_up object-store; then
  # shellcheck source=/dev/null
  (source "$services_dir/env" && python "$here/make_bucket.py" "$bucket")
  echo "the bucket is s3://$bucket"
fi
echo "now: source $services_dir/env"
