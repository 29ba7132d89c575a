#!/bin/sh
# Install the FLOW sensor on an existing system: Debian or Raspberry Pi OS with systemd.
# Run as root in the unpacked folder. Nothing is downloaded; a second run replaces the first.
set -eu
cd "$(dirname "$0")"
version=$(basename "$PWD" | sed "s/.*-py//")
place=/opt/flow-sensor

fail() {
    echo "install: $1" >&2
    exit 1
}
sha256sum --check --strict --quiet SHA256SUMS || fail "a file was altered: unpack the archive again"
[ "$(find . -type f ! -name SHA256SUMS | wc -l)" = "$(wc -l <SHA256SUMS)" ] ||
    fail "there are files that do not belong here: unpack the archive again"
[ "${1:-}" = --check ] && exit 0
[ "$(id -u)" = 0 ] || fail "run it as root"
python=$(command -v "python$version") || fail "this bundle needs python$version"
"$python" -c 'import venv, ensurepip' 2>/dev/null || fail "apt install python$version-venv"
command -v systemctl >/dev/null || fail "this system has no systemd"

systemctl stop flow-supervisor.service 2>/dev/null || true
rm -rf $place.new
"$python" -m venv $place.new
$place.new/bin/python -m pip install --quiet --no-index --find-links wheels --no-deps \
    --require-hashes -r requirements.txt
cp -r modules/firmware "$place.new/lib/python$version/site-packages/"
cp -r cache $place.new/cache
mkdir $place.new/libexec
cp setup $place.new/libexec/setup
cp flow-sensor $place.new/bin/flow-sensor
chmod 755 $place.new/libexec/setup $place.new/bin/flow-sensor
chmod -R go+rX,go-w $place.new
rm -rf $place
mv $place.new $place

install -D -m 644 flow-sensor.conf /usr/lib/sysusers.d/flow-sensor.conf
systemd-sysusers
mkdir -p /etc/flow-sensor /var/lib/flow-sensor
[ -e /etc/flow-sensor/sensor.toml ] || install -m 644 sensor.toml /etc/flow-sensor/sensor.toml
for unit in flow-setup.service flow-supervisor.service flow-vision.socket flow-vision@.service \
    flow-uplink.socket flow-uplink@.service; do
    install -m 644 "units/$unit" "/etc/systemd/system/$unit"
done
# Updates come as new bundles here: this system has no second slot.
sed -i 's/ flow-update.socket//' /etc/systemd/system/flow-supervisor.service
systemctl daemon-reload
systemctl enable --quiet flow-setup.service flow-supervisor.service
echo "installed in $place; provision the device, then: systemctl start flow-supervisor"
