# shellcheck shell=bash disable=SC2034
# Sourced by the scripts here: where services of this machine listen and keep their data. Every value
# can be set in the environment before.
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
services_dir="${DAMO_YOLO_SERVICES:-$root/runs/services}"
s3_port="${DAMO_YOLO_S3_PORT:-8333}"
mlflow_port="${DAMO_YOLO_MLFLOW_PORT:-5000}"
ray_port="${DAMO_YOLO_RAY_PORT:-6379}"
dashboard_port="${DAMO_YOLO_DASHBOARD_PORT:-8265}"
bucket="${DAMO_YOLO_BUCKET:-damo-yolo}"
PATH="$root/.venv/bin:$PATH"

# need PROGRAM FIX: stop with one clear error unless the program is installed.
need() {
  if ! command -v "$1" >/dev/null; then
    echo "error: the program '$1' is not installed" >&2
    echo "  fix: $2" >&2
    exit 2
  fi
}

# need_free PORT VARIABLE: stop unless nobody listens on the port.
need_free() {
  if answers "$1"; then
    echo "error: port $1 of this machine is in use" >&2
    echo "  fix: stop what listens there, or choose another: export $2=..." >&2
    exit 2
  fi
}

# answers PORT: tell whether something listens on this machine's port.
answers() {
  (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# random BYTES: print that many random bytes as hex.
random() {
  od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'
}
