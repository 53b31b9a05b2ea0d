# Source this to put the project's `kfp` before KFP's own:  source infra/env.sh
_damo_yolo_root="$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")/.." && pwd)"
export PATH="$_damo_yolo_root/infra/bin:$_damo_yolo_root/.venv/bin:$PATH"
unset _damo_yolo_root
