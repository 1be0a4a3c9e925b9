#!/bin/sh
# Makes the archive of a release, from which every other package is made: the program, its manual pages, completions,
# units and licences, where they belong below a prefix such as /usr/local.
# Usage: packaging/archive.sh PROGRAM DIR     Prints the path of DIR/lanes-VERSION-MACHINE-linux.tar.gz.
#
# The same program and the same SOURCE_DATE_EPOCH (by default the time of the last commit) give the same bytes.
set -eu
umask 022
program=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
cd "$(dirname "$0")/.."

epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
version=$("$program" --version)
name=lanes-${version#lanes }-$(uname -m)-linux

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/$name
share=$tree/share
install -D -m 755 "$program" "$tree/bin/lanes"
"$program" man "$share/man/man1"
mkdir -p "$share/bash-completion/completions" "$share/zsh/site-functions" "$share/fish/vendor_completions.d"
"$program" completions bash >"$share/bash-completion/completions/lanes"
"$program" completions zsh >"$share/zsh/site-functions/_lanes"
"$program" completions fish >"$share/fish/vendor_completions.d/lanes.fish"
install -D -m 644 -t "$share/systemd/user" packaging/systemd/*.service
install -D -m 644 -t "$share/doc/lanes" LICENSE README.md CHANGELOG.md
python3 packaging/notices.py >"$share/doc/lanes/THIRD-PARTY"

tar --create --directory "$work" --sort=name --owner=0 --group=0 --numeric-owner --mode=go=rX,u+rw --mtime="@$epoch" \
  --format=ustar "$name" | gzip --no-name --best >"$out/$name.tar.gz"
echo "$out/$name.tar.gz"
