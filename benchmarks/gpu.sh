#!/bin/sh
# Training steps on the GPU at hand; keeps one JSON in benchmarks/results/ and prints it.
# Needs torch, numpy, pydantic, pyyaml and this repository. Arguments go to benchmarks/gpu.py.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$here/results"
out="${GPU_RESULT:-$here/results/gpu_$(date -u +%Y-%m-%d).json}"
"${PYTHON:-python3}" "$here/gpu.py" "$@" > "$out.part"
mv "$out.part" "$out"
cat "$out"
