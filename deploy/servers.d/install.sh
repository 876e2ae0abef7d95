# shellcheck shell=bash
# Sourced by the scripts of deploy/: installs from Debian what is missing, and nothing else.

say() { printf '%s\n' "$*" >&2; }
die() {
  say "$(basename "$0"): $*"
  exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

# Every tool is looked for by its command or file, so that one installed in another way counts too.
missing_server_packages() {
  # the core packages hold the binaries only: nothing is set up as a service or started
  { has mariadbd && has mariadb-install-db; } || echo mariadb-server-core
  has mariadb || echo mariadb-client-core
  has java || echo default-jre-headless
  jars_present || has mvn || echo maven
}

missing_build_packages() {
  { has cc && has c++ && has make; } || echo build-essential
  has pkg-config || { echo pkg-config && echo libssl-dev && echo libsasl2-dev && echo zlib1g-dev && return; }
  pkg-config --exists libssl || echo libssl-dev
  pkg-config --exists libsasl2 || echo libsasl2-dev
  pkg-config --exists zlib || echo zlib1g-dev
}

# install_packages PACKAGE…: one run at a time, because apt does not wait for its lock by default
install_packages() {
  [ $# -gt 0 ] || return 0
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    has sudo || die "these packages are missing, install them as root: apt-get install -y --no-install-recommends $*"
    as_root=(sudo)
  fi
  say "installing: $*"
  "${as_root[@]}" apt-get -q -o DPkg::Lock::Timeout=300 update >&2 || die "apt-get update failed"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
    install --no-install-recommends "$@" >&2 || die "could not install: $*"
}

CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/otter
POM=$(dirname "${BASH_SOURCE[0]}")/pom.xml
JARS=$CACHE/jars-$(sha256sum "$POM" | cut -c1-12)

jars_present() { [ -d "$JARS" ]; }

# fetch_jars: complete or not there at all, whoever else is fetching at the same time
fetch_jars() {
  jars_present && return 0
  mkdir -p "$CACHE"
  local part
  part=$(mktemp -d "$CACHE/jars.XXXXXX") || return 1
  say "fetching the jars of Kafka and ZooKeeper"
  if ! mvn -q -B -f "$POM" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$part" >&2; then
    rm -rf "$part"
    die "Maven could not fetch the jars named in $POM"
  fi
  mv -T "$part" "$JARS" 2>/dev/null || rm -rf "$part"
  jars_present
}

# find_cargo: rustup's folder is often missing from the path of a script
find_cargo() {
  PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
  has cargo || die "Rust is missing: install it with rustup (https://rustup.rs), the toolchain file picks the version"
}
