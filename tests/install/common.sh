# shellcheck shell=bash
# Sourced by the scripts here.
set -eu
# shellcheck disable=SC2034  # for the scripts
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fail() {
  echo "$*" >&2
  exit 1
}

# quiet COMMAND...: shows the output only if it fails.
quiet() {
  "$@" >"$scratch/log" 2>&1 || {
    echo "failed: $*" >&2
    cat "$scratch/log" >&2
    exit 1
  }
}

# Builds and runs the project in SOURCE with CMake.
# build_and_run CMAKE COMPILER SOURCE ARGUMENT...
build_and_run() {
  local cmake=$1 compiler=$2 source=$3
  shift 3
  quiet "$cmake" -S "$source" -B "$scratch/build" -G Ninja -DCMAKE_CXX_COMPILER="$compiler" "$@"
  quiet "$cmake" --build "$scratch/build"
  quiet "$scratch/build/core"
  [ ! -e "$scratch/build/ffmpeg" ] || quiet "$scratch/build/ffmpeg"
}
