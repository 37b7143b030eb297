#!/bin/sh
# Create .env for docker-compose.yml: new API keys and a password for Redis. The keys are shown once, here; .env holds
# their hashes only.
set -eu
cd "${1:-$(dirname "$0")/..}"
if [ -e .env ]; then
    echo ".env exists already: it is kept. Remove it first if you want new keys." >&2
    exit 1
fi
umask 077
random() { openssl rand -hex 32; }
entry() { echo "$1:sha256:$(printf %s "$2" | openssl dgst -sha256 -r | cut -d ' ' -f 1)"; }
shop=$(random) operator=$(random)
{
    echo "RECBLR_API_KEYS=$(entry shop=append+read "$shop"),$(entry operator=append+read+erase+metrics+admin "$operator")"
    echo "REDIS_PASSWORD=$(random)"
} >.env.new
mv .env.new .env
cat <<END
Keep these keys now, they are not stored:
  shop (append+read):                           $shop
  operator (append+read+erase+metrics+admin):   $operator
END
