#!/bin/sh
# Installs `lanes`, its manual pages, completions and units for you alone: by default below ~/.local.
# `install.sh --help` explains the options.
set -eu
umask 022

# A release fills these in: the address below which the folders v1.2.3 of all releases are, and its own version.
base=
version=

usage() {
  cat <<'END'
Usage: install.sh [--dir DIR] [--version VERSION] [--from FOLDER]
       install.sh --remove [--dir DIR]

Installs the archive of a release after comparing its SHA-256 with the one in SHA256SUMS. An older version is replaced.

  --dir DIR          where the program goes [default: ~/.local/bin]; when the name ends in /bin, manual pages,
                     completions and units go into the folder `share` next to it
  --version VERSION  which version [default: the one this installer was released with]
  --from FOLDER      take the archive and SHA256SUMS from here instead of downloading them
  --remove           remove what was installed; queues and settings stay
END
}

fail() {
  echo "install.sh: $*" >&2
  exit 1
}

# Everything is in functions, so that a file that was cut short does nothing.
main() {
  dir=
  from=
  remove=
  while [ $# -gt 0 ]; do
    case $1 in
      --dir | --version | --from)
        [ -n "${2-}" ] || usage_error "$1 needs a value"
        case $1 in
          --dir) dir=$2 ;;
          --version) version=${2#v} ;;
          --from) from=$2 ;;
        esac
        shift 2
        ;;
      --remove) remove=yes && shift ;;
      --help | -h) usage && exit ;;
      *) usage_error "unknown argument: $1" ;;
    esac
  done
  case $version in
    *[!0-9A-Za-z.+-]*) usage_error "not a version: $version" ;;
  esac
  if [ -z "$dir" ]; then
    [ -n "${HOME-}" ] || usage_error "HOME is not set: give --dir DIR"
    dir=$HOME/.local/bin
  fi
  case $dir in
    /*) ;;
    *) dir=$PWD/$dir ;;
  esac
  dir=${dir%/}
  case $dir in
    */bin) share=${dir%/bin}/share ;;
    *) share= ;;
  esac
  if [ -n "$remove" ]; then
    remove
  else
    install_archive
  fi
}

usage_error() {
  echo "install.sh: $*; see install.sh --help" >&2
  exit 2
}

install_archive() {
  machine=$(machine)
  for tool in tar gzip sha256sum; do
    command -v "$tool" >/dev/null || fail "$tool is not installed"
  done
  work=$(mktemp -d)
  new=
  trap 'rm -rf "$work" ${new:+"$new"}' EXIT
  trap 'exit 1' HUP INT TERM
  archive=$(archive_name)
  fetch SHA256SUMS
  fetch "$archive"
  verify

  tar -xzf "$work/$archive" -C "$work" || fail "$archive cannot be unpacked"
  tree=$work/${archive%.tar.gz}
  [ ! -d "$dir/lanes" ] || fail "$dir/lanes is a folder: give another one with --dir"
  mkdir -p "$dir" 2>/dev/null || fail "cannot create $dir: give another folder with --dir"
  # Complete and able to run before it replaces the old one, which may be running.
  new=$dir/.lanes.new.$$
  cp "$tree/bin/lanes" "$new" 2>/dev/null || fail "cannot write to $dir: give another folder with --dir"
  chmod 755 "$new"
  installed=$("$new" --version) || fail "the program does not run on this machine; nothing was changed"
  if [ -n "$share" ]; then
    { mkdir -p "$share" && cp -R "$tree/share/." "$share/"; } 2>/dev/null ||
      fail "cannot write to $share: give another folder with --dir"
  fi
  mv -f "$new" "$dir/lanes" || fail "cannot replace $dir/lanes"
  new=
  echo "installed $installed: $dir/lanes"
  case :$PATH: in
    *":$dir:"*) ;;
    *) echo "$dir is not on your PATH: add  export PATH=\"$dir:\$PATH\"  to ~/.profile" ;;
  esac
}

# Prints the machine as the names of archives have it.
machine() {
  system=$(uname -s)
  [ "$system" = Linux ] || fail "lanes runs on Linux, and this is $system"
  case $(uname -m) in
    x86_64 | amd64) echo x86_64 ;;
    aarch64 | arm64) echo aarch64 ;;
    *) fail "there is no archive for this machine, $(uname -m): build lanes with cargo install --locked lanes-queue" ;;
  esac
}

archive_name() {
  if [ -n "$version" ] || [ -z "$from" ]; then
    [ -n "$version" ] || usage_error "this installer comes with no version: give --version VERSION"
    echo "lanes-$version-$machine-linux.tar.gz"
    return
  fi
  set -- "$from"/lanes-*-"$machine"-linux.tar.gz
  [ $# -eq 1 ] || usage_error "$from has several archives: give --version VERSION"
  [ -e "$1" ] || fail "$from has no archive lanes-VERSION-$machine-linux.tar.gz"
  basename "$1"
}

# fetch FILE: puts a file of the release into $work.
fetch() {
  if [ -n "$from" ]; then
    cp "$from/$1" "$work/$1" 2>/dev/null || fail "cannot read $from/$1"
    return
  fi
  [ -n "$base" ] || usage_error "this installer comes with no address: give --from FOLDER, or take the installer of a release"
  address=$base/v$version/$1
  if command -v curl >/dev/null; then
    curl --proto '=https' --tlsv1.2 --fail --silent --show-error --location --output "$work/$1" "$address" ||
      fail "cannot download $address"
  elif command -v wget >/dev/null; then
    wget --quiet --output-document="$work/$1" "$address" || fail "cannot download $address"
  else
    fail "neither curl nor wget is installed"
  fi
}

# Compares the archive with SHA256SUMS before anything else reads it.
verify() {
  expected=$(awk -v name="$archive" '$2 == name || $2 == "*" name { print $1 }' "$work/SHA256SUMS")
  [ ${#expected} -eq 64 ] || fail "SHA256SUMS does not have one checksum of $archive; nothing was installed"
  actual=$(sha256sum <"$work/$archive")
  actual=${actual%% *}
  [ "$actual" = "$expected" ] || fail "$archive has the SHA-256 $actual, not $expected; nothing was installed"
}

remove() {
  [ -e "$dir/lanes" ] || fail "there is no $dir/lanes"
  rm -f "$dir/lanes" 2>/dev/null || fail "cannot remove $dir/lanes"
  if [ -n "$share" ]; then
    rm -f "$share/man/man1/lanes.1" "$share"/man/man1/lanes-*.1 "$share/bash-completion/completions/lanes" \
      "$share/zsh/site-functions/_lanes" "$share/fish/vendor_completions.d/lanes.fish" \
      "$share"/systemd/user/lanes-*@.service
    rm -rf "$share/doc/lanes"
  fi
  echo "removed $dir/lanes"
}

main "$@"
