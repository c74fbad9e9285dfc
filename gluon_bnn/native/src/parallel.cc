#include "parallel.h"

#include <omp.h>
#include <pthread.h>

#include <atomic>

namespace gluon_bnn {
namespace {

std::atomic<bool> forked{false};
thread_local double worth_sharing = kParallel;

// Registered when the library is loaded: at the first call it would miss a fork before that call, and the parent may
// have used OpenMP by other means.
[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, after_fork);

}  // namespace

void after_fork() {
  forked.store(true, std::memory_order_relaxed);
  omp_set_num_threads(1);  // for other users of OpenMP in this thread, MXNet's operators among them
}

InEngine::InEngine() { worth_sharing = kParallelInEngine; }
InEngine::~InEngine() { worth_sharing = kParallel; }

int threads_for(double nanoseconds) {
  const bool one = nanoseconds < worth_sharing || forked.load(std::memory_order_relaxed) || omp_in_parallel();
  return one ? 1 : omp_get_max_threads();
}

void run_ranges(Schedule schedule, int threads, int64_t count, const void* body,
                void (*range)(const void* body, int64_t begin, int64_t end, int thread)) {
  if (threads == 1) {
    range(body, 0, count, 0);
  } else if (schedule == Schedule::kStatic) {
#pragma omp parallel for schedule(static, 1) num_threads(threads)
    for (int t = 0; t < threads; ++t) range(body, count * t / threads, count * (t + 1) / threads, t);
  } else {
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int64_t i = 0; i < count; ++i) range(body, i, i + 1, omp_get_thread_num());
  }
}

}  // namespace gluon_bnn
