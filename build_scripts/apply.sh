#!/bin/sh
# Lay the FLOW sensor over a JetPack root file system before it is flashed:
#   sudo ./apply.sh Linux_for_Tegra/rootfs
# Nothing is downloaded and nothing of the device's architecture runs; a second run changes nothing.
set -eu
root=${1:-}
cd "$(dirname "$0")"
python=$(basename "$PWD" | sed "s/.*-py//")

fail() {
    echo "apply: $1" >&2
    exit 1
}
sha256sum --check --strict --quiet SHA256SUMS || fail "a file was altered: unpack the archive again"
case $root in /?*) ;; *) fail "name the root file system by its whole path, such as $OLDPWD/rootfs" ;; esac
[ -e "$root/etc/nv_tegra_release" ] || fail "$root is no root file system of JetPack"
[ -x "$root/usr/bin/python$python" ] || fail "this overlay needs python$python in $root"
[ "$(id -u)" = 0 ] || fail "run it as root"

rm -rf "$root/opt/flow-sensor"
cp -R --preserve=mode,links --no-preserve=ownership rootfs/. "$root"
systemd-sysusers --root="$root"
echo "applied; give the disk a partition named identity (docs/image.md), then flash it"
