#!/bin/sh
# Makes a container image from the archive of a release, with buildah.
# Usage: packaging/image.sh ARCHIVE DIR     Prints the path of DIR/lanes-VERSION-MACHINE-image.tar, an OCI archive.
set -eu
archive=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
containerfile=$(realpath "$(dirname "$0")/Containerfile")

name=$(basename "$archive" -linux.tar.gz)
machine=${name##*-}
version=${name#lanes-}
version=${version%-"$machine"}
case $machine in
  x86_64) architecture=amd64 ;;
  aarch64) architecture=arm64 ;;
  *) echo "error: the name of $machine in images is not known here" >&2 && exit 1 ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar --extract --file "$archive" --directory "$work" --no-same-owner
tree=$work/$name-linux
epoch=$(stat --format=%Y "$tree")
# Nothing is run to build it, so that it needs no rights, and its storage is gone afterwards.
storage() {
  buildah --root "$work/storage" --runroot "$work/run" --storage-driver vfs "$@"
}
storage build --quiet --isolation chroot --arch "$architecture" --timestamp "$epoch" \
  --label org.opencontainers.image.title=lanes --label "org.opencontainers.image.version=$version" \
  --label org.opencontainers.image.licenses=MIT \
  --file "$containerfile" --tag "lanes:$version" "$tree" >/dev/null
# An archive that buildah makes has the time of this moment in it.
storage push --quiet "lanes:$version" "oci:$work/layout:lanes:$version"
image=$out/$name-image.tar
tar --create --directory "$work/layout" --sort=name --owner=0 --group=0 --numeric-owner --mode=go=rX,u+rw \
  --mtime="@$epoch" --format=ustar --file "$image" blobs index.json oci-layout
echo "$image"
