#!/bin/sh
# backup.sh TO: copies the archive while it runs, as the user orthanc. TO is a folder of its own.
# The index first: Orthanc writes a file before it names it there, so no name lacks its file.
set -eu
to=$1
data=${CENTRAL_DATA:-/var/lib/orthanc/central}
mkdir -p "$to/files"
pg_dump --format=custom --file="$to/index.new" "${PGDATABASE:-orthanc}"
cp -a -u "$data/." "$to/files/"
sync
mv "$to/index.new" "$to/index"
