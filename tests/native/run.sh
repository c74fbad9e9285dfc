#!/usr/bin/env bash
# Builds the library's sources with each test_*.cc, without Python and MXNet, and runs them.
#
#   tests/native/run.sh            for this machine, optimised as the library is
#   tests/native/run.sh sanitize   under AddressSanitizer and UndefinedBehaviorSanitizer; on x86 also with the kernels
#                                  for AVX-512, emulated by avx512/immintrin.h, so that every machine runs them
#   tests/native/run.sh arm64      for 64-bit ARM with Debian's cross compiler, under qemu-user
#                                  (apt-get install g++-aarch64-linux-gnu qemu-user)
#
# Further arguments are object files of the library, of an earlier build, which are then linked in place of a new one.
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
optimise=-Og  # of the tests themselves
sizes=
stack=32k
leave_out=
case ${1:-native} in
  native) ;;
  sanitize)  # -Og takes half the time of -O1 to compile; -g1: the names and lines of what they find; char is as on ARM
    flags="${flags/-O3/-Og} -g1 -fsanitize=address,undefined -fno-sanitize-recover=all -funsigned-char"
    sizes=small ;;
  arm64)
    compiler=aarch64-linux-gnu-g++
    optimise=-O1  # running is what takes long
    runner="qemu-aarch64 -L /usr/aarch64-linux-gnu"
    sizes=small
    # Which allocations fail and what is done with a damaged file has nothing to do with the processor; whole files run in
    # test_install.py.
    leave_out=" test_memory test_models "
    stack=128k ;;  # threads may not have less there
  *) echo "run.sh: allowed are native, sanitize and arm64, got $1" >&2; exit 2 ;;
esac

objects=("${@:2}")
sources=()
if [ ${#objects[@]} -eq 0 ]; then
  sources=("$src"/*.cc "$src"/kernels/*.cc)
  for room in api gemm inference training; do  # a file per room, as setup.py does it
    find "$src/$room" -name '*.cc' -printf '#include "%p"\n' | sort > "$work/$room.cc"
    sources+=("$work/$room.cc")
  done
fi
tests=()
for file in "$here"/test_*.cc; do
  if [[ $leave_out != *" $(basename "$file" .cc) "* ]]; then tests+=("$file"); fi
done
for file in ${sources[@]+"${sources[@]}"} "${tests[@]}"; do
  name=${file#"$src/"} name=${name#"$here/"} name=${name#"$work/"} name=${name%.cc}
  set_flags=$flags
  case $name in
    training) if [ "${1:-}" = sanitize ]; then set_flags+=" -O0"; fi ;;  # long to optimise, short to run
    api|inference) if [ "${1:-native}" = native ]; then set_flags+=" $(flags_of "$name")"; fi ;;
    # What looks for mistakes in the library need not look for its own.
    test_*) set_flags="-std=c++17 $optimise -fopenmp -ffp-contract=off -Wall" ;;
    kernels/dispatch)  # the machine has AVX-512 where the environment says so; a set without kernels is left out
      if [ "${1:-}" = sanitize ]; then
        set_flags+=" -D'__builtin_cpu_supports(feature)=(std::getenv(\"EMULATE\") || !std::strstr(feature, \"512\"))'"
      fi ;;
    kernels/avx*)
      set=${name#kernels/}
      case ${1:-native}-$set in
        sanitize-avx512*)  # its macros without its instructions
          set_flags+=" -I${here@Q}/avx512 -Wno-psabi $(flags_of "$name" | sed -E 's/-m(avx512\w+)/-D__\U\1__/g')" ;;
        arm64-*) ;;  # those that cannot run here are left out, as on another machine
        *) if grep -q "${set:0:6}" /proc/cpuinfo; then set_flags+=" $(flags_of "$name")"; fi ;;
      esac ;;
  esac
  printf '%s %s -I%q -I%q -c %q -o %q\n' "$compiler" "$set_flags" "$src" "$native/include" "$file" \
    "$work/${name//\//_}.o"
done | xargs -d '\n' -P "$(nproc)" -I COMMAND bash -c COMMAND
for object in "$work"/*.o; do
  case $object in */test_*.o) ;; *) objects+=("$object") ;; esac
done
for file in "${tests[@]}"; do
  test=$(basename "$file" .cc)
  # An emulated processor takes a minute and a half for test_memory: kernels, which allocate nothing, are not its subject.
  if [ "$test" = test_memory ]; then unset EMULATE; else export EMULATE=1; fi
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
