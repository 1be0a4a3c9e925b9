#!/bin/sh
# Completes a folder that has the packages of a release for all machines: SHA256SUMS, the installer and the formula.
# Usage: packaging/release-files.sh DIR HOMEPAGE BASE
#
# BASE is the address below which the folders of all releases are, as in BASE/v1.2.3/SHA256SUMS.
set -eu
here=$(dirname "$(realpath "$0")")
cd "$1"
homepage=$2
base=$3
case $homepage$base in
  *[!0-9A-Za-z:/._~-]*) echo "error: not an address: $homepage, $base" >&2 && exit 1 ;;
esac

set -- lanes-*-linux.tar.gz
version=${1#lanes-}
version=${version%-*-linux.tar.gz}
rm -f SHA256SUMS install.sh lanes.rb

sed "s|^base=\$|base=$base|; s|^version=\$|version=$version|" "$here/install.sh" >install.sh
chmod 755 install.sh
sum_of() {
  [ -f "lanes-$version-$1-linux.tar.gz" ] || { echo "error: no archive of $version for $1" >&2 && exit 1; }
  sha256sum <"lanes-$version-$1-linux.tar.gz" | cut -d ' ' -f 1
}
x86_64=$(sum_of x86_64)
aarch64=$(sum_of aarch64)
sed "1d; s|@HOMEPAGE@|$homepage|; s|@BASE@|$base|; s|@VERSION@|$version|g; s|@SHA256_x86_64@|$x86_64|; s|@SHA256_aarch64@|$aarch64|" \
  "$here/lanes.rb.in" >lanes.rb
LC_ALL=C sha256sum -- lanes* install.sh >SHA256SUMS
