#!/bin/sh
# See that programs are there; as root on Debian, install the packages of those that are not.
#     .ci/install_programs.sh redis-server=redis-server nginx=nginx-light
set -eu
missing='' packages=''
for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null && continue
    missing="$missing ${pair%%=*}"
    packages="$packages ${pair#*=}"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "The tests need these programs, which are not on the PATH:$missing. Install them with your system's package" >&2
    echo "manager (Debian's packages:$packages), then run this again." >&2
    exit 1
fi
echo "Installing$packages ..."
# The tests start servers of their own, so Debian must not start one: that is what the policy file says meanwhile.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod +x $policy
fi
apt-get update -qq
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
