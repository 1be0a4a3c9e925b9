#!/usr/bin/env bash
# Makes every package twice, compares the bytes, and tries each one where nothing else is installed.
# Usage: packaging/try.sh PROGRAM DIR     The packages are in DIR afterwards.
#
# A part whose tools are missing prints a line `skipped: …`. Nothing is downloaded.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
program=$(realpath "$1")
mkdir -p "$2"
dist=$(realpath "$2")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$here" log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
version=$("$program" --version)
version=${version#lanes }
machine=$(uname -m)
archive=$dist/lanes-$version-$machine-linux.tar.gz

fail() {
  echo "error: $*" >&2
  exit 1
}

skipped() {
  echo "skipped: $1: needs $2"
}

# refused STATUS WORDS COMMAND...: the command ends with this status and one line that has these words.
refused() {
  local status=0 words=$2 expected=$1
  shift 2
  "$@" >"$work/out" 2>"$work/err" || status=$?
  [ "$status" = "$expected" ] || fail "status $status, not $expected: $*: $(cat "$work/err")"
  [ "$(grep -c '' "$work/err")" = 1 ] || fail "not one line: $*: $(cat "$work/err")"
  grep -qF -- "$words" "$work/err" || fail "not '$words': $*: $(cat "$work/err")"
}

# works DIR COMMAND...: in a new queue in DIR, this `lanes` submits, claims and answers a task.
works() {
  local id token config=$1/.agent-lanes-queue/handoff.yaml
  "${@:2}" init-pool "$1" >/dev/null
  shift
  id=$("$@" --config "$config" submit --lane work --prompt 'Which?')
  token=$("$@" --config "$config" claim --lane work --owner trial | sed -n 's/^claim_token=//p')
  "$@" --config "$config" respond "$id" --claim-token "$token" --body 'This one.' >/dev/null
  [ "$("$@" --config "$config" wait "$id")" = 'This one.' ] || fail "not answered by: $*"
}

# buildah with a storage that goes away.
storage() {
  buildah --root "$work/storage" --runroot "$work/run" --storage-driver vfs "$@"
}

make_all() {
  "$here/archive.sh" "$program" "$1"
  "$here/deb.sh" "$1/${archive##*/}" "$1"
  "$here/wheel.py" "$1/${archive##*/}" "$1"
  if storage info >/dev/null 2>&1; then
    "$here/image.sh" "$1/${archive##*/}" "$1"
  fi
}

try_bytes() {
  make_all "$dist"
  make_all "$work/again" >/dev/null
  local file
  for file in "$work/again"/*; do
    cmp "$file" "$dist/${file##*/}"
  done
  rm -r "$work/again"
}

try_deb() {
  local root=$work/root files deb=("$dist/lanes_"*.deb)
  [ "$(id -u)" = 0 ] || { skipped "the Debian package" root && return; }
  mkdir -p "$root/var/lib/dpkg/"{info,updates,triggers} "$root/work"
  touch "$root/var/lib/dpkg/status"
  dpkg --root="$root" --install "${deb[@]}" >/dev/null
  files=$(cd "$root" && find usr -type f | sort)
  for file in bin/lanes share/man/man1/lanes.1.gz share/man/man1/lanes-submit.1.gz lib/systemd/user/lanes-dispatch@.service \
    lib/systemd/user/lanes-serve@.service share/bash-completion/completions/lanes share/zsh/vendor-completions/_lanes \
    share/fish/vendor_completions.d/lanes.fish share/doc/lanes/copyright share/doc/lanes/changelog.gz; do
    grep -qx "usr/$file" <<<"$files" || fail "the Debian package has no $file"
  done
  # Nothing else is in the root: no shell, no library, no /proc.
  works /work chroot "$root" /usr/bin/lanes
  dpkg --root="$root" --purge lanes >/dev/null
  [ ! -e "$root/usr" ] || fail "dpkg left behind: $(find "$root/usr")"
}

try_units() {
  command -v systemd-analyze >/dev/null || { skipped units systemd-analyze && return; }
  mkdir -p "$work/units" "$work/runtime"
  cp "$here"/systemd/*.service "$work/units"
  XDG_RUNTIME_DIR=$work/runtime systemd-analyze verify --user --man=no "$work/units/lanes-dispatch@home-you-pool.service" \
    "$work/units/lanes-serve@home-you-pool.service" >"$work/out" 2>&1 || fail "$(cat "$work/out")"
  [ ! -s "$work/out" ] || fail "$(cat "$work/out")"
}

try_installer() {
  local release=$work/release home=$work/home install=("$work/install.sh")
  mkdir -p "$release" "$home"
  # Where other users may run it, too.
  chmod 755 "$work"
  cp "$here/install.sh" "$work"
  cp "$archive" "$release"
  (cd "$release" && sha256sum lanes-* >SHA256SUMS)
  export HOME=$home
  "${install[@]}" --from "$release" >"$work/out"
  grep -qF 'is not on your PATH' "$work/out" || fail "$(cat "$work/out")"
  works "$work/queue" "$home/.local/bin/lanes"
  for file in man/man1/lanes-submit.1 zsh/site-functions/_lanes systemd/user/lanes-serve@.service; do
    [ -f "$home/.local/share/$file" ] || fail "the installer left out $file"
  done
  # Over a program that is running.
  "$home/.local/bin/lanes" --config "$work/queue/.agent-lanes-queue/handoff.yaml" claim --lane idle --wait >/dev/null 2>&1 &
  local running=$!
  "${install[@]}" --from "$release" --version "v$version" --dir "$home/.local/bin" >/dev/null
  kill "$running"
  wait "$running" 2>/dev/null || true
  # Without `bin` at its end, the folder gets nothing but the program.
  (cd "$work" && "${install[@]}" --from "$release" --dir tools >/dev/null)
  [ "$(ls -A "$work/tools")" = lanes ] || fail "more than the program: $(ls -A "$work/tools")"

  # What is refused changes nothing.
  local before
  before=$(sha256sum "$home/.local/bin/lanes")
  refused 2 'unknown argument: --force' "${install[@]}" --force
  refused 2 '--dir needs a value' "${install[@]}" --dir
  refused 2 'not a version: ../0.1.0' "${install[@]}" --version ../0.1.0
  refused 2 'comes with no version' "${install[@]}"
  refused 2 'comes with no address' "${install[@]}" --version "$version"
  refused 1 'cannot read' "${install[@]}" --from "$work/nowhere" --version "$version"
  refused 1 'has no archive' "${install[@]}" --from "$work/home"
  mkdir -p "$work/stand-ins/uname" "$work/wrong"
  uname_as Darwin arm64
  refused 1 'lanes runs on Linux, and this is Darwin' env PATH="$work/stand-ins/uname:$PATH" "${install[@]}" --from "$release"
  uname_as Linux riscv64
  refused 1 'no archive for this machine, riscv64' env PATH="$work/stand-ins/uname:$PATH" "${install[@]}" --from "$release"
  cp "$release"/* "$work/wrong"
  printf x >>"$work/wrong/${archive##*/}"
  refused 1 'nothing was installed' "${install[@]}" --from "$work/wrong"
  sed 's/lanes-/other-/' "$release/SHA256SUMS" >"$work/wrong/SHA256SUMS"
  refused 1 'does not have one checksum' "${install[@]}" --from "$work/wrong"
  cp "$archive" "$release/lanes-9.9.9-$machine-linux.tar.gz"
  refused 2 'has several archives' "${install[@]}" --from "$release"
  rm "$release/lanes-9.9.9-$machine-linux.tar.gz"
  mkdir -p "$work/taken/lanes"
  refused 1 'is a folder' "${install[@]}" --from "$release" --dir "$work/taken"
  touch "$work/file"
  refused 1 'cannot create' "${install[@]}" --from "$release" --dir "$work/file/bin"
  try_without_rights "$release"
  [ "$(sha256sum "$home/.local/bin/lanes")" = "$before" ] || fail "a refused installation changed the program"

  "${install[@]}" --remove >/dev/null
  [ -z "$(find "$home/.local" -type f)" ] || fail "the installer left behind: $(find "$home/.local" -type f)"
  refused 1 'there is no' "${install[@]}" --remove
}

# uname_as SYSTEM MACHINE: a `uname` of another machine.
uname_as() {
  cat >"$work/stand-ins/uname/uname" <<END
#!/bin/sh
if [ "\$1" = -m ]; then echo $2; else echo $1; fi
END
  chmod 755 "$work/stand-ins/uname/uname"
}

# A folder that belongs to another user.
try_without_rights() {
  local as=()
  mkdir -p "$work/closed/bin"
  chmod 555 "$work/closed/bin"
  if [ "$(id -u)" = 0 ]; then
    as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
  fi
  refused 1 'cannot write to' "${as[@]}" "$work/install.sh" --from "$1" --dir "$work/closed/bin"
  [ -z "$(ls -A "$work/closed/bin")" ] || fail "a refused installation left $(ls -A "$work/closed/bin")"
}

# What the release workflow adds, with a `curl` that has no network.
try_release_files() {
  local files=$work/files base=https://example.org/releases
  mkdir -p "$files" "$work/stand-ins/curl"
  cp "$archive" "$files"
  refused 1 'no archive of' "$here/release-files.sh" "$files" https://example.org "$base"
  for other in x86_64 aarch64; do
    cp -n "$archive" "$files/lanes-$version-$other-linux.tar.gz"
  done
  "$here/release-files.sh" "$files" https://example.org/lanes "$base"
  (cd "$files" && sha256sum --check --quiet SHA256SUMS)
  [ "$(grep -c "$(sha256sum <"$archive" | cut -d ' ' -f 1)" "$files/lanes.rb")" = 2 ] || fail "$(cat "$files/lanes.rb")"
  ! grep -n '@[A-Z]' "$files/lanes.rb" || fail "the formula is not filled in"
  if command -v ruby >/dev/null; then
    ruby -c "$files/lanes.rb" >/dev/null
  else
    skipped "the syntax of the formula" ruby
  fi
  cat >"$work/stand-ins/curl/curl" <<END
#!/bin/sh
while [ "\$1" != --output ]; do shift; done
case \$3 in
  $base/v$version/*) cp "$files/\${3##*/}" "\$2" ;;
  *) exit 22 ;;
esac
END
  chmod 755 "$work/stand-ins/curl/curl"
  PATH=$work/stand-ins/curl:$PATH "$files/install.sh" --dir "$work/downloaded" >/dev/null
  cmp "$work/downloaded/lanes" "$program"
  refused 1 'cannot download https://example.org/releases/v9.9.9/' env PATH="$work/stand-ins/curl:$PATH" \
    "$files/install.sh" --version 9.9.9 --dir "$work/downloaded"
}

try_wheel() {
  local venv=$work/venv wheel=("$dist"/lanes_queue-*.whl)
  python3 -m venv "$venv" 2>/dev/null || { skipped "the wheel" "python3 with venv" && return; }
  "$venv/bin/pip" install --quiet --disable-pip-version-check --no-index "${wheel[@]}"
  "$venv/bin/pip" check --quiet
  works "$work/wheel" "$venv/bin/lanes"
  [ -f "$venv/share/man/man1/lanes-submit.1" ] || fail "the wheel has no manual pages"
  "$venv/bin/pip" uninstall --quiet --yes lanes-queue
  [ -z "$(find "$venv" -name '*lanes*')" ] || fail "pip left behind: $(find "$venv" -name '*lanes*')"
}

try_image() {
  storage info >/dev/null 2>&1 || { skipped "the image" buildah && return; }
  local image=("$dist"/lanes-*-image.tar) container
  mkdir -p "$work/mounted"
  container=$(storage from --quiet "oci-archive:${image[0]}")
  works /work storage run --isolation chroot --volume "$work/mounted:/work" "$container" /usr/local/bin/lanes
  storage rm "$container" >/dev/null
}

for part in bytes deb units installer release_files wheel image; do
  echo "-- $part"
  "try_$part"
done
