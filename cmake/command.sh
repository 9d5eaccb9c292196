# shellcheck shell=bash
# Sourced by the commands for people (tests/run, examples/demo, bench/run), which set `top`, the folder of the sources.

# mistake WORDS: reports a mistake on the command line, and exits.
mistake() {
  echo "${0##*/}: $*; see $0 --help" >&2
  exit 2
}

# parse_arguments ARGUMENT...: stores the one argument, if given, in `argument`, and in `only_setup` whether --setup was
# given. --help prints the comment at the top of the command, and exits.
argument='' only_setup=''
parse_arguments() {
  local options=yes
  while [ $# -gt 0 ]; do
    case $options$1 in
      yes-h | yes--help)
        sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
        exit 0 ;;
      yes--setup)
        # shellcheck disable=SC2034  # for the command
        only_setup=yes ;;
      yes--) options=no ;;
      yes-?*) mistake "there is no option $1" ;;
      *)
        [ -z "$argument" ] || mistake "it takes only one argument, not $argument and $1"
        argument=$1 ;;
    esac
    shift
  done
}

# hold_tree NAME: from here to its end, this is the only run of the command NAME in this tree, because two runs cannot share
# its builds. It waits for another run, and says so.
hold_tree() {
  command -v flock >/dev/null || return 0
  # shellcheck disable=SC2154  # the command sets it
  local file=$top/build/$1.lock tree_lock
  mkdir -p "$top/build" && exec {tree_lock}<>"$file" || exit 1
  if ! flock --nonblock "$tree_lock"; then
    echo "${0##*/}: another run (process $(head -n 1 "$file")) is working in $top; waiting for its end" >&2
    flock "$tree_lock" || exit 1
  fi
  printf '%-10s\n' $$ >"$file"
}
