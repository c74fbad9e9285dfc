#!/usr/bin/env bash
# Builds the library's sources with each test_*.cc, without Python and MXNet, and runs them.
#
#   tests/native/run.sh            for this machine, optimised as the library is
#   tests/native/run.sh sanitize   under AddressSanitizer and UndefinedBehaviorSanitizer
#   tests/native/run.sh arm64      for 64-bit ARM with Debian's cross compiler, under qemu-user
#                                  (apt-get install g++-aarch64-linux-gnu qemu-user)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
native=$here/../../gluon_bnn/native
src=$native/src
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

compiler=${CXX:-c++}
flags_of() { sed -n "s|^$1 ||p" "$src/flags.txt"; }
flags=$(flags_of all)
runner=
sizes=
stack=32k
case ${1:-native} in
  native) ;;
  sanitize)  # -g1: the names and lines of what they find, at half the time to compile
    flags="${flags/-O3/-O1} -g1 -fsanitize=address,undefined -fno-sanitize-recover=all"
    sizes=small ;;
  arm64)
    compiler=aarch64-linux-gnu-g++
    flags=${flags/-O3/-O1}  # half of the time to build; tests/packaging/test_install.py runs it optimised
    runner="qemu-aarch64 -L /usr/aarch64-linux-gnu"
    sizes=small
    stack=128k ;;  # threads may not have less there
  *) echo "run.sh: allowed are native, sanitize and arm64, got $1" >&2; exit 2 ;;
esac

for room in api gemm inference training; do  # a file per room, as setup.py does it
  find "$src/$room" -name '*.cc' -printf '#include "%p"\n' | sort > "$work/$room.cc"
done
tests=()
for file in "$here"/test_*.cc; do
  # Which allocations fail has nothing to do with the processor, and takes long where one is emulated.
  if [ "${file##*/} ${1:-}" != "test_memory.cc arm64" ]; then tests+=("$file"); fi
done
for file in "$work"/*.cc "$src"/*.cc "$src"/kernels/*.cc "${tests[@]}"; do
  name=${file#"$src/"} name=${name#"$here/"} name=${name#"$work/"} name=${name%.cc}
  set_flags=$flags
  if [ "${1:-}" = sanitize ] && [ "$name" = training ]; then set_flags+=" -O0"; fi  # long to optimise, short to run
  case $name in
    test_memory) ;;  # it knows how much more stack a sanitizer takes
    # What looks for mistakes in the library need not look for its own: half of the time to build.
    test_*) set_flags="-std=c++17 -O1 -fopenmp -ffp-contract=off -Wall" ;;
  esac
  if [ "${1:-}" != arm64 ] && [ "$(uname -m)" = x86_64 ]; then
    set_flags+=" $(flags_of "$name")"
    # Without -O1 and above GCC warns of its own headers elsewhere too. Code that cannot run here is linked only: no
    # time goes into it.
    if [[ $name == kernels/avx512* ]] && ! grep -qw avx512f /proc/cpuinfo; then set_flags+=" -O0 -g0 -Wno-uninitialized"; fi
  fi
  printf '%s %s -I%q -I%q -c %q -o %q\n' "$compiler" "$set_flags" "$src" "$native/include" "$file" \
    "$work/${name//\//_}.o"
done | xargs -d '\n' -P "$(nproc)" -I COMMAND bash -c COMMAND
objects=()
for object in "$work"/*.o; do
  case $object in */test_*.o) ;; *) objects+=("$object") ;; esac
done
for file in "${tests[@]}"; do
  test=$(basename "$file" .cc)
  case $test in
    test_models) arguments=("$here/../golden") ;;
    *) arguments=(${sizes:+"$sizes"}) ;;
  esac
  # shellcheck disable=SC2086
  $compiler $flags "${objects[@]}" "$work/$test.o" -o "$work/$test"
  # Two threads that wait, not spin: the test is many small calls. Their stacks are small, those of test_memory all the
  # more.
  # shellcheck disable=SC2086
  OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive OMP_STACKSIZE=$stack $runner "$work/$test" ${arguments[@]+"${arguments[@]}"}
done
