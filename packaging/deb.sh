#!/bin/sh
# Makes a Debian package from the archive of a release.
# Usage: packaging/deb.sh ARCHIVE DIR     Prints the path of DIR/lanes_VERSION_ARCHITECTURE.deb.
#
# LANES_MAINTAINER is who answers for the package, as in `Ann <ann@example.org>`.
set -eu
umask 022
archive=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")

name=$(basename "$archive" -linux.tar.gz)
machine=${name##*-}
version=${name#lanes-}
# In Debian `1.0~rc.1` is older than `1.0`, and a hyphen would begin a revision.
version=$(echo "${version%-"$machine"}" | sed 's/-/~/; s/-/./g')
case $machine in
  x86_64) architecture=amd64 ;;
  aarch64) architecture=arm64 ;;
  *) echo "error: Debian's name of $machine is not known here" >&2 && exit 1 ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar --extract --file "$archive" --directory "$work" --no-same-owner
tree=$work/$name-linux
# The files of the archive have the time of the release.
epoch=$(stat --format=%Y "$tree")
root=$work/root
mkdir -p "$root/DEBIAN" "$root/usr/lib/systemd" "$root/usr/share/zsh"
mv "$tree/bin" "$root/usr/bin"
mv "$tree/share/systemd/user" "$root/usr/lib/systemd/user"
mv "$tree/share/zsh/site-functions" "$root/usr/share/zsh/vendor-completions"
mv "$tree/share/man" "$tree/share/bash-completion" "$tree/share/fish" "$tree/share/doc" "$root/usr/share/"
doc=$root/usr/share/doc/lanes
cat "$doc/LICENSE" "$doc/THIRD-PARTY" >"$doc/copyright"
rm "$doc/LICENSE" "$doc/THIRD-PARTY"
maintainer=${LANES_MAINTAINER:-The lanes authors <lanes@localhost>}
cat >"$doc/changelog" <<END
lanes ($version) unstable; urgency=medium

  * CHANGELOG.md lists the changes.

 -- $maintainer  $(LC_ALL=C date --utc --rfc-email --date="@$epoch")
END
find "$root/usr/share/man" "$doc/changelog" -type f -exec gzip --no-name --best {} +

cat >"$root/DEBIAN/control" <<END
Package: lanes
Version: $version
Architecture: $architecture
Maintainer: $maintainer
Installed-Size: $(find "$root/usr" -type f -printf '%s\n' | awk '{ sum += int(($1 + 1023) / 1024) } END { print sum }')
Section: utils
Priority: optional
Description: task queue for AI coding agents, shell scripts and people
 Submit a task to a lane; a worker claims it under a lease, renews the lease
 while working, and responds. The queue is a directory of plain JSON files on
 one machine: no daemon and no server.
 .
 The package has units for systemd with which a user runs a dispatcher of
 agents (lanes-dispatch@.service) or the HTTP server (lanes-serve@.service).
END
(cd "$root" && find usr -type f | LC_ALL=C sort | xargs -d '\n' md5sum) >"$root/DEBIAN/md5sums"

find "$root" -exec touch --no-dereference --date="@$epoch" {} +
deb=$out/lanes_${version}_$architecture.deb
# One thread, so that the bytes do not depend on the number of processors.
SOURCE_DATE_EPOCH=$epoch dpkg-deb --root-owner-group --threads-max=1 -Zxz --build "$root" "$deb" >/dev/null
echo "$deb"
