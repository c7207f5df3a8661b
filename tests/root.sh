#!/usr/bin/env bash
# Runs a command in another Debian, made on demand under build/roots. See usage() below.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

usage() {
  cat <<'TEXT'
usage: tests/root.sh NAME [PACKAGE...] -- COMMAND [ARGUMENT...]

Makes the root NAME if there is none yet, installs the packages that are missing in it, and runs COMMAND
in it, as root, in /heddle. NAME is one of

  debian13   Debian 13: OpenSSL 3.5
  sid        Debian unstable: OpenSSL 3.6 when this was written
  openssl4   Debian unstable with OpenSSL from experimental: 4.0

/heddle is this source tree, read-only; /heddle/build is build/roots/NAME-build of the host, so ./dev and
Meson work there as they do here. Nothing stays behind when COMMAND ends or this script is killed: mounts
and processes live in namespaces of their own, /tmp is fresh. The network is the host's.

A root stays as it was made. For newer packages: rm -r build/roots/NAME
TEXT
}

readonly roots=$PWD/build/roots
experimental=()  # Source packages that come from experimental.

say() { echo "root: $*" >&2; }

die() {
  say "$@"
  exit 1
}

# --- Being inside ------------------------------------------------------------------------------

# The first process of the new namespaces: mounts what programs expect, then runs the command.
# inside ROOT FOLDER COMMAND...
inside() {
  local root=$1 folder=$2 node status=0
  shift 2
  mount -t proc proc "$root/proc"
  mount -t tmpfs -o mode=755 dev "$root/dev"
  for node in null zero full random urandom tty; do
    : >"$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
  done
  mkdir "$root/dev/pts" "$root/dev/shm"
  mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
  mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
  ln -s pts/ptmx "$root/dev/ptmx"
  ln -s /proc/self/fd "$root/dev/fd"
  ln -s /proc/self/fd/0 "$root/dev/stdin"
  ln -s /proc/self/fd/1 "$root/dev/stdout"
  ln -s /proc/self/fd/2 "$root/dev/stderr"
  mount -t tmpfs -o mode=1777 tmp "$root/tmp"
  for node in resolv.conf hosts; do
    if [[ -e /etc/$node ]]; then cp --remove-destination "/etc/$node" "$root/etc/$node"; fi
  done
  mount --bind "$PWD" "$root/heddle"
  mount -o remount,bind,ro "$root/heddle"
  mount --bind "$root-build" "$root/heddle/build"
  # Not the host's environment: its paths mean nothing here. Not exec: a first process has no default
  # signal actions, and somebody has to collect orphans.
  chroot "$root" /usr/bin/env -i -C "$folder" HOME=/root LANG=C.UTF-8 TERM="${TERM-dumb}" \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@" || status=$?
  return "$status"
}

# Runs a function of this script, or a program, as the first process of new mount and process namespaces.
# The kernel ends the whole of them when unshare dies, and unshare when this script does, whatever killed it.
isolated() {
  setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child \
    bash -euo pipefail -c '"$@"' root.sh "$@"
}

enter() { isolated inside "$@"; }

# --- Making a root -----------------------------------------------------------------------------

# Prints the mirror that apt uses here, if this is Debian; prints nothing to mean debootstrap's own.
mirror() {
  # shellcheck disable=SC2016 # apt substitutes these.
  apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    sed -n 's/^Debian //p' | sed -n 1p || true
}

# make ROOT SUITE: under another name until it is complete, so an interrupted one is never taken for a root.
make() {
  local root=$1 suite=$2 making=$1.making log=$1.log site uri
  command -v debootstrap >/dev/null || die 'debootstrap is missing; as root: apt-get install debootstrap'
  site=$(mirror)
  say "making $root (a minute or more)"
  rm -rf --one-file-system "$making"
  # Isolated, too: debootstrap mounts /proc in there.
  if ! isolated debootstrap --variant=minbase "$suite" "$making" ${site:+"$site"} >"$log" 2>&1 </dev/null; then
    die "cannot make $root: $(grep '^E:' "$log" | sed -n 1p || true) (is there a network?); see $log"
  fi
  mkdir "$making/heddle"
  # Packages must not start servers. Whoever needs one starts it himself.
  printf '#!/bin/sh\nexit 101\n' >"$making/usr/sbin/policy-rc.d"
  chmod +x "$making/usr/sbin/policy-rc.d"
  # A root can be made again: no need to wait for the disk.
  echo force-unsafe-io >"$making/etc/dpkg/dpkg.cfg.d/heddle"
  # debootstrap does not ask how old the mirror's lists are (frozen mirrors have a use); so apt must not either.
  printf '%s\n' 'APT::Install-Recommends "false";' 'Acquire::Languages "none";' \
    'Acquire::Check-Valid-Until "false";' >"$making/etc/apt/apt.conf.d/heddle"
  if ((${#experimental[@]} > 0)); then
    # Older ones of debootstrap write a line, newer ones may write fields.
    uri=$(find "$making/etc/apt" \( -name '*.list' -o -name '*.sources' \) -print0 |
      xargs -0 sed -n -e 's/^deb \([^ ]*\) .*/\1/p' -e 's/^URIs: //p' | sed -n 1p)
    echo "deb $uri experimental main" >"$making/etc/apt/sources.list.d/experimental.list"
    printf 'Package: %s\nPin: release a=experimental\nPin-Priority: 900\n' "${experimental[*]/#/src:}" \
      >"$making/etc/apt/preferences.d/experimental"
  fi
  mv "$making" "$root"
}

# install ROOT PACKAGE...: what is missing of it.
install() {
  local root=$1 log=$1-install.log package
  local -a packages=()
  shift
  for package; do
    case $(dpkg-query --admindir="$root/var/lib/dpkg" -W -f '${db:Status-Status}' "$package" 2>/dev/null ||
      true) in
      installed*) ;;
      *) packages+=("$package") ;;
    esac
  done
  if ((${#packages[@]} == 0)); then return; fi
  say "installing in $root: ${packages[*]}"
  # The first command mends what an interrupted run left.
  if ! enter "$root" / sh -euc 'export DEBIAN_FRONTEND=noninteractive
    dpkg --configure -a; apt-get -y -f install; apt-get update; apt-get install -y "$@"' sh "${packages[@]}" \
    >"$log" 2>&1 </dev/null; then
    die "cannot install in $root: $(grep '^E:' "$log" | sed -n 1p || true) (is there a network?); see $log"
  fi
}

# Prints what version of OpenSSL programs are built with in ROOT, or run with if there is nothing to build with.
openssl_version() {
  local version
  # The development package sorts first.
  version=$(dpkg-query --admindir="$1/var/lib/dpkg" -W -f '${Version}\n' libssl-dev 'libssl[0-9]*' 2>/dev/null |
    sed '/^$/d' | sed -n 1p || true)
  echo "${version:-none}"
}

# --- The command line --------------------------------------------------------------------------

# bash reads a script while it runs. A function, and exit in the line that calls it, let this file be edited meanwhile.
main() {
  local suite lock
  case ${1-} in
    debian13) suite=trixie ;;
    sid) suite=sid ;;
    openssl4) suite=sid experimental=(openssl) ;;
    *) usage >&2 && exit 2 ;;
  esac
  local root=$roots/$1
  shift
  local -a packages=()
  while (($# > 0)) && [[ $1 != -- ]]; do
    packages+=("$1")
    shift
  done
  if (($# < 2)); then usage >&2 && exit 2; fi
  shift

  if ((EUID != 0)); then
    command -v sudo >/dev/null || die 'not root and no sudo, and chroot and mount need one of them'
    exec sudo "$PWD/tests/root.sh" "$(basename "$root")" "${packages[@]}" -- "$@"
  fi

  export -f inside
  mkdir -p "$root-build"
  exec {lock}>"$root.lock"
  flock "$lock"  # Two runs must not make or change a root at the same time.
  if [[ ! -d $root ]]; then make "$root" "$suite"; fi
  install "$root" "${packages[@]}"
  exec {lock}>&-
  say "$(basename "$root"): Debian $suite, OpenSSL $(openssl_version "$root")"
  enter "$root" /heddle "$@"
}

main "$@"; exit
