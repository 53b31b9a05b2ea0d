#!/bin/sh
# Training steps on the GPU at hand; keeps one JSON in benchmarks/results/ and prints it.
# Needs torch, this repository and a GPU; numpy, pydantic and pyyaml are fetched into a folder of
# their own where they are missing. Arguments go to benchmarks/gpu.py, see --help.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
python="${PYTHON:-python3}"
packages="${GPU_PACKAGES:-${TMPDIR:-/tmp}/damo-yolo-gpu-packages}"

has() { PYTHONPATH="$packages${PYTHONPATH:+:$PYTHONPATH}" "$python" -c "import $1" 2>/dev/null; }

if ! has torch; then
    echo "error: $python has no torch" >&2
    echo "  fix: PYTHON=/path/to/the/python/that/has/it $0" >&2
    exit 2
fi
missing=""
for pair in numpy:numpy pydantic:pydantic yaml:pyyaml; do
    has "${pair%:*}" || missing="$missing ${pair#*:}"
done
if [ -n "$missing" ] && ! "$python" -m pip install --quiet --upgrade --target "$packages" $missing >&2; then
    echo "error: $python has no$missing, and they could not be fetched" >&2
    echo "  fix: where there is a network, pip download --dest wheels$missing; bring the folder here," >&2
    echo "       then PIP_NO_INDEX=1 PIP_FIND_LINKS=wheels $0" >&2
    exit 2
fi
export PYTHONPATH="$packages${PYTHONPATH:+:$PYTHONPATH}"

mkdir -p "$here/results"
device=$("$python" -c "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu')" |
    tr -cs '[:alnum:]\n' '-' | tr '[:upper:]' '[:lower:]')
out="${GPU_RESULT:-$here/results/gpu_${device}_$(date -u +%Y-%m-%d).json}"
"$python" "$here/gpu.py" "$@" > "$out.part"
mv "$out.part" "$out"
cat "$out"
