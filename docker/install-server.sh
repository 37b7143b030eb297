#!/bin/sh
# Install the server into the virtual environment on the PATH. Runs in the repository's root, in the image and in CI.
# pip refuses a file whose SHA-256 is not in the lock, and builds the project itself without a network.
set -eu
pip install --no-cache-dir --require-hashes --requirement docker/server.lock
pip install --no-cache-dir --no-deps --no-build-isolation .
pip uninstall --yes setuptools
