#!/bin/sh
# Installs what the tests drive: real senders, archives and browsers from Debian or Ubuntu.
# Without the right to install, it names what is missing; the tests that need it are skipped by name.
missing=""
# Not storescu: pynetdicom has one, too, which an active environment puts first.
command -v dcmsend >/dev/null || missing="$missing dcmtk"
command -v chromium >/dev/null || missing="$missing chromium"
# Debian's second build of it, without windows: half the time per page. Ubuntu has none.
if ! command -v chromium-headless-shell >/dev/null && apt-cache show chromium-headless-shell >/dev/null 2>&1
then missing="$missing chromium-headless-shell"
fi
command -v dciodvfy >/dev/null || missing="$missing dicom3tools"
command -v strace >/dev/null || missing="$missing strace"
command -v minisign >/dev/null || missing="$missing minisign"
PATH="$PATH:/usr/sbin" command -v Orthanc >/dev/null || missing="$missing orthanc"
[ -e /usr/share/orthanc/plugins/libOrthancDicomWeb.so ] || missing="$missing orthanc-dicomweb"
command -v systemd-analyze >/dev/null || missing="$missing systemd"
command -v systemd-nspawn >/dev/null || missing="$missing systemd-container"
command -v mmdebstrap >/dev/null || missing="$missing mmdebstrap"
if [ "${1:-}" = slow ]; then
  command -v qemu-system-x86_64 >/dev/null || missing="$missing qemu-system-x86"
fi
[ -e /usr/share/orthanc/plugins/libOrthancPostgreSQLIndex.so ] || missing="$missing orthanc-postgresql"
PATH="$PATH:/usr/sbin" command -v haproxy >/dev/null || missing="$missing haproxy"
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
[ -z "$missing" ] && exit 0

if [ "$(id -u)" = 0 ]; then as=""
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then as="sudo"
else
  echo "not installed, and no right to install:$missing. Tests that need them are skipped."
  exit 0
fi
echo "installing$missing"
$as env DEBIAN_FRONTEND=noninteractive apt-get update -qq &&
  $as env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null ||
  echo "could not install$missing: tests that need them are skipped"
exit 0
