#!/bin/sh
# Install the trainer into the virtual environment on the PATH. Runs in the repository's root, in the images and in CI.
# TORCH_INDEX: address of an additional package index, for another build of torch than pip's default one.
set -eu
pip install --no-cache-dir --constraint constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} '.[train]'
