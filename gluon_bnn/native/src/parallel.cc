#include "parallel.h"

#if !defined(_WIN32)
#include <pthread.h>
#endif

#include <atomic>

namespace gluon_bnn {
namespace {

std::atomic<bool> forked{false};
thread_local double worth_sharing = kParallel;

#if !defined(_WIN32)
// Registered when the library is loaded: at the first call it would miss a fork before that call, and the parent may
// have used OpenMP by other means.
[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, after_fork);
#endif

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

}  // namespace gluon_bnn
