# shellcheck shell=bash
# Sourced by scripts that wait for ninja or apt-get. No program of its own.

# show_progress TEXT LOG <OUTPUT   Writes what comes in to LOG, and tells how far it is: on a terminal in one line that is
# written over, otherwise in a line every 30 s. What ninja and apt-get (APT::Status-Fd=1) say of their progress is left out
# of LOG. It is read from a pipe so that an interrupt reaches the program at the other end as well.
show_progress() {
  local text=$1 log=$2 line='' part='' state='' status=0 told_s=$SECONDS seen='' now
  local steps='^\[([0-9]+/[0-9]+)\] ' apt='^(dl|pm)status:[^:]*:([0-9]+)'
  while [ "$status" -eq 0 ] || [ "$status" -gt 128 ]; do # above 128: nothing came for a second
    status=0
    IFS= read -r -t 1 part || status=$?
    line+=$part
    if [ "$status" -eq 0 ] || { [ "$status" -le 128 ] && [ -n "$line" ]; }; then
      if [[ $line =~ $steps ]]; then
        state="${BASH_REMATCH[1]} "
      elif [[ $line =~ $apt ]]; then
        [ "${BASH_REMATCH[1]}" = dl ] && state=downloading || state=unpacking
        state+=" ${BASH_REMATCH[2]} % "
      else
        printf '%s\n' "$line" >&3
      fi
      line=
    fi
    printf -v now '%s: %s(%d:%02d)' "$text" "$state" $((SECONDS / 60)) $((SECONDS % 60))
    if [ -t 1 ] && [ "$SECONDS" -gt "$told_s" ] && [ "$now" != "$seen" ]; then
      printf '\r\033[K%s' "$now"
      seen=$now
    elif [ ! -t 1 ] && [ $((SECONDS - told_s)) -ge 30 ]; then
      printf '%s\n' "$now"
      told_s=$SECONDS
    fi
  done 3>"$log"
  [ -z "$seen" ] || printf '\r\033[K'
}

# build_shown PROGRAM PRESET COMMAND…   Runs a build with its output in build/PRESET.log; if it fails, shows the errors.
build_shown() {
  local program=$1 preset=$2 log=build/$2.log
  shift 2
  mkdir -p build
  if ! NINJA_STATUS='[%f/%t] ' "$@" 2>&1 </dev/null | show_progress "$program: building $preset" "$log"; then
    grep -E -A 12 'error|FAILED' "$log" | head -n 60 >&2 || tail -n 60 "$log" >&2
    echo "$program: the $preset build failed; everything it said is in $log" >&2
    return 1
  fi
}
