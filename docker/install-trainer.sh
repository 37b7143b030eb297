#!/bin/sh
# Install the trainer into the virtual environment on the PATH. Runs in the repository's root, in the images and in CI.
# pip refuses a file whose SHA-256 is not in the lock. Other builds of torch than pip's default one have other hashes;
# with one of these variables torch is held to its version only:
#   TORCH_INDEX  address of an additional package index, for example of the CPU builds
#   TORCH_BUILD  "any": whichever build the package indexes at hand offer
set -eu
pip install --no-cache-dir --require-hashes --requirement docker/trainer.lock
if [ -n "${TORCH_INDEX:-}${TORCH_BUILD:-}" ]; then
    pip install --no-cache-dir --constraint constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch
else
    pip install --no-cache-dir --no-deps --require-hashes --requirement docker/torch.lock
fi
pip install --no-cache-dir --no-deps --no-build-isolation .
pip check
