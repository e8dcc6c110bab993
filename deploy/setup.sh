#!/bin/sh
# Makes .venv hold exactly what the lock file says, and the project itself: `deploy/setup.sh runtime|dev`.
#
# Does nothing when .venv already matches, repairs an interrupted set-up by starting afresh, and answers every
# foreseeable obstacle (Python, disk, network) with one sentence. PYTHON=... chooses the interpreter.
set -eu
cd "$(dirname "$0")/.."

want=${1:-runtime}
case $want in
  runtime) lock=requirements.lock ;;
  dev) lock=requirements-dev.lock ;;
  *) echo "usage: deploy/setup.sh runtime|dev" >&2; exit 2 ;;
esac
venv=.venv
stamp=$venv/.installed     # what was installed completely: one line "<what> <checksum>"
busy=$venv/.installing     # exists while a set-up runs, with its process id; survives if it is killed
log=$venv/setup.log

stop() { echo "Set-up stopped: $*" >&2; exit 1; }
sum() { cksum <"$1" | cut -d' ' -f1; }
here="place $(pwd -P | cksum | cut -d' ' -f1)"   # a moved folder breaks the paths inside .venv
project="project $(sum pyproject.toml)"
done_already() { [ -f $stamp ] && grep -qx "$1" $stamp; }
# The development lock holds everything of the runtime lock.
packages_done() {
  done_already "dev $(sum requirements-dev.lock)" || { [ "$want" = runtime ] && done_already "runtime $(sum $lock)"; }
}

if [ ! -e $busy ] && packages_done && done_already "$project" && done_already "$here" && [ -x $venv/bin/python ]; then
  exit 0
fi

supported() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1; }
has_venv() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

find_python() {
  if [ -n "${PYTHON:-}" ]; then
    supported "$PYTHON" || stop "PYTHON=$PYTHON is not a Python 3.11, 3.12 or 3.13 that runs here."
    has_venv "$PYTHON" || stop "$PYTHON has no venv module; install it (on Debian or Ubuntu: apt install python3-venv)."
    return
  fi
  bare=
  for PYTHON in python3 python3.13 python3.12 python3.11 python; do
    supported "$PYTHON" || continue
    has_venv "$PYTHON" && return
    bare=$PYTHON
  done
  [ -z "$bare" ] || stop "$bare has no venv module; install it (on Debian or Ubuntu: apt install python3-venv)."
  found=$(python3 -c 'import platform; print(" (python3 here is " + platform.python_version() + ")")' 2>/dev/null) || found=
  stop "Python 3.11, 3.12 or 3.13 is needed and none is on the PATH$found; install one, or name it: make PYTHON=/path/to/python3.12 ..."
}

need_gb() {
  free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
  [ "$free" -ge "$1" ] || stop "the disk is too full: $1 GB are needed in $(pwd), $free GB are free."
}

mkdir -p $venv 2>/dev/null || stop "cannot write to $(pwd)."
if ! (set -C; echo $$ >$busy) 2>/dev/null; then
  other=$(cat $busy 2>/dev/null || true)
  if [ -n "$other" ] && kill -0 "$other" 2>/dev/null; then
    stop "another set-up (process $other) is at work in $venv; wait for it, or stop it and try again."
  fi
  echo "The last set-up was interrupted: starting afresh."
  rm -rf $venv && mkdir -p $venv && echo $$ >$busy
elif [ -f $stamp ] && ! { done_already "$here" && supported $venv/bin/python; }; then
  echo "This folder or its Python has moved: building the environment afresh."
  rm -rf $venv && mkdir -p $venv && echo $$ >$busy
fi
trap 'exit 130' INT TERM HUP

if ! supported $venv/bin/python; then
  # Nothing is installed yet, so if this ends early there is nothing to repair either.
  trap 'rm -rf $venv' EXIT
  find_python
  need_gb 6
  "$PYTHON" -m venv $venv >$log 2>&1 || stop "$PYTHON could not create the environment: $(tail -n 1 $log)"
  trap - EXIT
fi

pip_install() {
  mkdir -p $venv/tmp # pip unpacks a gigabyte; /tmp is often small
  if ! TMPDIR=$(pwd)/$venv/tmp $venv/bin/python -m pip install --no-deps --no-compile --disable-pip-version-check \
    --progress-bar off "$@" >$log 2>&1; then
    if grep -q 'No space left' $log; then
      stop "the disk ran full during the installation; free about 6 GB and run make again."
    fi
    cp $log setup.log # the next run may start afresh
    stop "pip could not install: $(grep '^ERROR' $log | head -n 1 | sed 's/^ERROR: //') Run make again to retry; the whole story is in setup.log."
  fi
  rm -rf $venv/tmp
}

# pip says little while it unpacks, so count what has arrived. Ends with this script, however that ends.
progress() {
  shown=
  while sleep 5 && kill -0 $$ 2>/dev/null; do
    now="  $(grep -c '^Collecting ' $log) fetched, $(find $venv/lib/python*/site-packages -maxdepth 1 -name '*.dist-info' | wc -l | tr -d ' ') installed"
    [ "$now" = "$shown" ] || echo "$now"
    shown=$now
  done
}

if ! packages_done; then
  rm -f $stamp
  echo "Installing $(grep -c '==' $lock) packages into $venv: about 2 minutes on a fast line, 3.5 GB on disk, only the first time."
  began=$(date +%s)
  progress & watcher=$!
  trap 'kill $watcher 2>/dev/null || true' EXIT
  pip_install --require-hashes -r $lock
  kill $watcher 2>/dev/null || true
  trap - EXIT
  echo "Installed in $(($(date +%s) - began)) s."
fi
pip_install --no-build-isolation --editable .
printf '%s\n' "$want $(sum $lock)" "$project" "$here" >$stamp
rm -f $busy
