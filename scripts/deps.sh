#!/bin/sh
# Installs the Debian packages that are missing. DD_DEPS=0 skips it.
set -e
[ "${DD_DEPS:-1}" = 1 ] || exit 0
packages="g++ make git python3 python3-pip nlohmann-json3-dev libpcre2-dev libutf8proc-dev libgtest-dev libbenchmark-dev"
missing=""
for p in $packages; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $p"
done
# What is there without a package (a compiler or Python of one's own) need not be installed again.
have() { command -v "$1" >/dev/null 2>&1; }
for pair in g++:g++ make:make git:git python3:python3; do
    have "${pair#*:}" && missing=$(printf '%s' "$missing" | sed "s/ ${pair%%:*}\( \|$\)/ /")
done
python3 -m pip --version >/dev/null 2>&1 && missing=$(printf '%s' "$missing" | sed 's/ python3-pip\( \|$\)/ /')
missing=$(echo $missing)
[ -z "$missing" ] && exit 0
if ! have apt-get; then
    echo "missing packages: $missing; install them with your system's package manager (DD_DEPS=0 skips this check)" >&2
    exit 4
fi
sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo"
echo "installing: $missing" >&2
$sudo apt-get update -qq || true
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
