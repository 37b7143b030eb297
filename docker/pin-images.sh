#!/bin/sh
# Pin the base images of docker-compose.yml: write the digests that their tags have now into .env. Needs Docker and a
# registry. Run it again for updates; without these lines in .env the tags are used.
set -eu
cd "${1:-$(dirname "$0")/..}"
umask 077
digest() { docker buildx imagetools inspect "$1" --format '{{.Manifest.Digest}}'; }
python=$(digest python:3.12-slim)
redis=$(digest redis:7)
for found in "$python" "$redis"; do
    case $found in
        sha256:????????????????????????????????????????????????????????????????) ;;
        *) echo "The registry's answer is no digest: $found" >&2; exit 1 ;;
    esac
done
{
    [ ! -e .env ] || sed '/^PYTHON_IMAGE=/d; /^REDIS_IMAGE=/d' .env
    echo "PYTHON_IMAGE=python:3.12-slim@$python"
    echo "REDIS_IMAGE=redis:7@$redis"
} >.env.new
mv .env.new .env
echo "python:3.12-slim and redis:7 are pinned in .env."
