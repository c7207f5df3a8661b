#!/usr/bin/env bash
# Runs a command under a kernel that has kernel TLS, whatever this machine's kernel has. See usage() below.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: tests/ktls_vm.sh [-t SECONDS] [-w DIR]... [--skip REASON] -- COMMAND [ARG]...

  -t      limit for all of it (120)
  -w      a folder that COMMAND may write to; also how one under /tmp gets in
  --skip  does nothing but say why

The guest is Debian's user-mode-linux: a kernel that runs as an ordinary process, without privileges and without
an image. It sees this machine's files under their own names, to read; /tmp, /var/tmp, /run and /dev/shm are its own
and empty. It has one CPU and the loopback network. The working directory and the environment are the caller's.
Sanitizers do not start in it: an address has 39 bits there.

Exit status: COMMAND's; 77, which Meson shows as skipped, where there is no guest to be had; 124 past the limit;
125 if the guest did not come up or died.

It takes: apt-get install --no-install-recommends user-mode-linux busybox-static
HEDDLE_UML is a folder into which another kernel was unpacked: dpkg -x user-mode-linux_..._amd64.deb FOLDER
TEXT
}

skip() {
  echo "ktls_vm: skipped: $*"
  exit 77
}

limit=120
writable=()
while (($# > 0)); do
  case $1 in
    -t) limit=$2 && shift 2 ;;
    -w) writable+=("$(realpath -e -- "$2")") && shift 2 ;;
    --skip) skip "$2" ;;
    --) shift && break ;;
    *) usage >&2 && exit 125 ;;
  esac
done
if (($# == 0)); then usage >&2 && exit 125; fi

kernel=$(PATH=${HEDDLE_UML:+$HEDDLE_UML/usr/bin:}$PATH command -v linux.uml) ||
  skip 'no linux.uml here; install user-mode-linux'
busybox=$(command -v busybox) || skip 'no busybox here; install busybox-static'
[[ $("$busybox" --list) == *insmod* ]] || skip "$busybox has no insmod; install busybox-static"
modules=$(find "${HEDDLE_UML-}/usr/lib/uml/modules" -mindepth 1 -maxdepth 1 2>/dev/null | sort -V | tail -n 1)
if [[ ! -r $modules/modules.dep ]]; then skip 'no modules for linux.uml; install user-mode-linux'; fi

# Prints the module files to load, each behind those that it needs: kernel TLS, and the ciphers that it asks for by
# name.
module_files() {
  awk -F'[: ]+' -v wanted='ctr gcm ccm ghash-generic chacha_generic chacha poly1305_generic chacha20poly1305 tls' '
    {
      name = $1; sub(/.*\//, "", name); sub(/\.ko$/, "", name)
      file[name] = $1
      for (i = 2; i <= NF; i++) needs[name] = $i " " needs[name]
    }
    END {
      count = split(wanted, names, " ")
      for (i = 1; i <= count; i++) if (names[i] in file) print needs[names[i]] file[names[i]]
    }' "$modules/modules.dep" | tr -s ' ' '\n' | awk 'NF && !seen[$0]++'
}

folder=$(mktemp -d "${TMPDIR:-/tmp}/heddle-ktls.XXXXXX")
guest=''
clean_up() {
  if [[ -n $guest ]]; then kill "$guest" 2>/dev/null || true; fi
  rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# The command, as the guest's shell will read it.
{
  export -p
  printf 'cd %q || exit 125\nexec' "$PWD"
  printf ' %q' "$@"
  echo
} >"$folder/command"

# The guest's first process. The only way back to us is $folder, which it mounts at /mnt.
{
  printf '#!%s sh\nb=%q\n' "$busybox" "$busybox"
  printf '$b mount -t hostfs -o %q none /mnt || $b poweroff -f\n' "$folder"
  cat <<'GUEST'
exec </dev/null >>/mnt/log 2>&1
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mkdir -p /dev/shm /dev/pts
$b mount -t devpts devpts /dev/pts
$b ln -s /proc/self/fd /dev/fd
$b ln -s /proc/self/fd/0 /dev/stdin
$b ln -s /proc/self/fd/1 /dev/stdout
$b ln -s /proc/self/fd/2 /dev/stderr
for d in /tmp /var/tmp /run /dev/shm; do $b mount -t tmpfs -o mode=1777 tmpfs "$d"; done
GUEST
  for each in ${writable[@]+"${writable[@]}"}; do
    printf '$b mkdir -p %q && $b mount -t hostfs -o %q none %q\n' "$each" "$each" "$each"
  done
  while read -r file; do
    printf '$b insmod %q\n' "$modules/$file"
  done < <(module_files)
  cat <<'GUEST'
[ -e /proc/net/tls_stat ] || { echo 'the guest has no kernel TLS'; $b poweroff -f; }
$b ifconfig lo 127.0.0.1 up
ulimit -c 0
/bin/bash /mnt/command >>/mnt/out 2>>/mnt/err
echo $? >/mnt/status
$b poweroff -f
GUEST
} >"$folder/init"
chmod 755 "$folder" "$folder/init"
touch "$folder/out" "$folder/err" "$folder/log"

ulimit -c 0
if [[ ! -w /dev/shm ]]; then export TMPDIR=$folder; fi  # Where the guest's memory lies.
timeout -k 3 "$limit" "$kernel" mem=768M root=none rootfstype=hostfs hostfs=/ ro init="$folder/init" \
  uml_dir="$folder/" con=null con0=null,fd:1 ssl=null quiet panic=1 </dev/null >>"$folder/log" 2>&1 &
guest=$!
tail -q -f -s 0.1 --pid="$guest" -c +1 "$folder/out" &
out=$!
tail -q -f -s 0.1 --pid="$guest" -c +1 "$folder/err" >&2 &
err=$!
ended=0
wait "$guest" || ended=$?
guest=''
wait "$out" "$err" || true
if [[ -s $folder/status ]]; then exit "$(cat "$folder/status")"; fi
if ((ended == 124 || ended == 137)); then
  echo "ktls_vm: past the limit of $limit s" >&2
  exit 124
fi
tail -n 30 "$folder/log" >&2
echo "ktls_vm: the guest ended without a status ($ended)" >&2
exit 125
