#!/bin/sh
# Install the server into the virtual environment on the PATH. Runs in the repository's root, in the image and in CI.
set -eu
pip install --no-cache-dir --constraint constraints.txt .
