// The threads of the kernels: the only place that knows of OpenMP, of fork, and of when a second thread pays.
//
// A loop allocates nothing inside of a parallel region, where an exception would end the process: the calling thread
// makes the scratch buffers of all threads first, and std::bad_alloc is thrown there.
#ifndef GLUON_BNN_PARALLEL_H_
#define GLUON_BNN_PARALLEL_H_

#include <cstdint>
#include <memory>
#include <type_traits>

namespace gluon_bnn {

// Below this much work, in nanoseconds on one thread, waking another thread costs more than it saves.
constexpr double kParallel = 3000;
// The same for operators that MXNet's engine runs: Python has a core to itself for a part of every training step, and a
// loop that two threads share waits for the one that has no core.
constexpr double kParallelInEngine = 90000;
// Nanoseconds per element of a loop that reads and writes memory and computes little.
constexpr double kTouch = kParallel / 32768;

// How many threads share this much work: one, or all that OpenMP has. Not a number between: OpenMP would end the
// threads that it does not need, and start them again for the next loop. In a child of fork it is one: OpenMP's
// threads do not survive a fork, and whoever asks for them waits for ever.
int threads_for(double nanoseconds);

// While one of these lives, its thread runs an operator for MXNet's engine.
class InEngine {
 public:
  InEngine();
  ~InEngine();
  InEngine(const InEngine&) = delete;
  InEngine& operator=(const InEngine&) = delete;
};

// Tells that this process is a child of a process which may have used OpenMP before this library was loaded. A fork
// after that is noticed without it.
void after_fork();

// kStatic gives each thread a range of indices that is known beforehand, so that it finds in its cache what it left
// there in the loop before. With kDynamic whichever thread is free takes the next index: for bodies that take long,
// because while a net trains, Python has a core to itself for a part of every step.
enum class Schedule { kStatic, kDynamic };

// Runs range(body, begin, end, thread) for ranges that make up the indices below `count`, on `threads` threads.
void run_ranges(Schedule schedule, int threads, int64_t count, const void* body,
                void (*range)(const void* body, int64_t begin, int64_t end, int thread));

// Runs body(i, thread) for every i below `count` on `threads` threads, whose numbers begin at 0. The body must not
// throw. It is compiled once, for one thread and for many.
template <Schedule kSchedule, typename Body>
void parallel_for(int threads, int64_t count, const Body& body) {
  run_ranges(kSchedule, threads, count, &body, [](const void* of, int64_t begin, int64_t end, int thread) {
    const Body& each = *static_cast<const Body*>(of);
    for (int64_t i = begin; i < end; ++i) each(i, thread);
  });
}

// Runs body(group, begin, end) over parts of an array of `groups` groups of n elements each. No part is in two groups.
// The parts do not depend on the number of threads, so that sums over them do not either. `work` is that of an element,
// in nanoseconds.
template <Schedule kSchedule, typename Body>
void for_each_part(int64_t groups, int64_t n, const Body& body, double work = kTouch) {
  constexpr int64_t kPart = 8192;
  const int64_t parts = (n + kPart - 1) / kPart;  // of a group
  parallel_for<kSchedule>(threads_for(work * groups * n), groups * parts, [&](int64_t i, int) {
    const int64_t group = i / parts, begin = group * n + i % parts * kPart, end = (group + 1) * n;
    body(group, begin, begin + kPart < end ? begin + kPart : end);
  });
}

constexpr int64_t kLine = 64;  // bytes of a cache line

// So many bytes, rounded up to whole cache lines.
inline int64_t whole_lines(int64_t bytes) { return (bytes + kLine - 1) / kLine * kLine; }

// At most so many elements of the next run are worth a prefetch: for the rest the processor's own has begun.
constexpr int64_t kForeseen = 1024;

// Prefetches the cache lines of `count` elements, which may lie outside of an array. This is for loops that read or
// write a short run of elements in every row of an array: no processor foresees where in memory the next one begins.
// GCC leaves calls out of functions that only prefetch, as it sees no effect in them; hence always_inline.
template <typename T>
[[gnu::always_inline]] inline void prefetch(const T* from, int64_t count) {
  constexpr int64_t kStep = kLine / sizeof(T);
  for (int64_t i = 0; i < count + kStep - 1; i += kStep) __builtin_prefetch(from + i, 0, 2);
}

// `count` buffers of `size` elements, mostly one per thread: not initialised, each at a multiple of 64 bytes. Stacks
// may be small, so everything larger than about a kilobyte is kept here.
template <typename T>
class Scratch {
 public:
  Scratch(int count, int64_t size)
      : stride_(whole_lines(size * static_cast<int64_t>(sizeof(T)))),
        memory_(new char[count * stride_ + kLine]),
        begin_(memory_.get() + (kLine - reinterpret_cast<uintptr_t>(memory_.get()) % kLine)) {
    static_assert(std::is_trivial_v<T> && alignof(T) <= kLine);
  }
  T* operator[](int index) const { return reinterpret_cast<T*>(begin_ + index * stride_); }

 private:
  int64_t stride_;
  std::unique_ptr<char[]> memory_;
  char* begin_;
};

}  // namespace gluon_bnn

#endif  // GLUON_BNN_PARALLEL_H_
