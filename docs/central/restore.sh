#!/bin/sh
# restore.sh FROM: puts a back-up into an empty database and an empty folder, with Orthanc stopped.
set -eu
from=$1
data=${CENTRAL_DATA:-/var/lib/orthanc/central}
mkdir -p "$data"
if [ -n "$(ls -A "$data")" ]; then
  echo "$data is not empty: move it away first" >&2
  exit 1
fi
cp -a "$from/files/." "$data/"
pg_restore --no-owner --exit-on-error --dbname="${PGDATABASE:-orthanc}" "$from/index"
