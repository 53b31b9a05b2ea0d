#!/usr/bin/env bash
# An MLflow server on this machine, in the foreground: runs in SQLite, files in a folder.
set -euo pipefail
# shellcheck source=infra/local/settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
need mlflow 'set the environment up: make .venv/.installed-run'
need_free "$mlflow_port" DAMO_YOLO_MLFLOW_PORT

mkdir -p "$services_dir/mlflow"
export MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
exec mlflow server --host 127.0.0.1 --port "$mlflow_port" --workers 1 \
  --backend-store-uri "sqlite:///$services_dir/mlflow/mlflow.db" \
  --artifacts-destination "$services_dir/mlflow/artifacts"
