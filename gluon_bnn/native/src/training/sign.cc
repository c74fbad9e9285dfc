#include "training/sign.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "kernels/table.h"
#include "parallel.h"

namespace gluon_bnn {
namespace {

// How many elements of x are neither -1 nor 1.
int64_t count_others(const float* x, int64_t size) {
  int32_t others = 0;
  for (int64_t i = 0; i < size; ++i) others += std::fabs(x[i]) != 1.0f;
  return others;
}

}  // namespace

template <typename T>
void sign(const T* x, int64_t size, T* y) {
  for_each_part<Schedule::kStatic>(1, size, [=](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) y[i] = x[i] < 0 ? T(-1) : T(1);
  });
}

template <typename T>
void sign_backward(bool masked, T clip, const T* dy, const T* x, int64_t size, T* dx) {
  for_each_part<Schedule::kStatic>(1, size, [=](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const T d = dy[i];  // a load under the condition would make it an unpredictable branch
      const bool passes = !masked | (std::fabs(x[i]) <= clip);
      dx[i] = passes ? d : T(0);
    }
  });
}

bool all_signs(const float* x, int64_t size) {
  constexpr int64_t kStrip = 1024;  // real-valued input nearly always fails in its first strip
  if (count_others(x, std::min(size, kStrip)) != 0) return false;
  std::atomic<bool> others{false};
  parallel_for<Schedule::kStatic>(threads_for(kTouch * size), ceil_div(size, kStrip), [&](int64_t strip, int) {
    if (others.load(std::memory_order_relaxed)) return;
    const int64_t begin = strip * kStrip;
    if (count_others(x + begin, std::min(size - begin, kStrip)) != 0) others.store(true, std::memory_order_relaxed);
  });
  return !others;
}

template void sign<float>(const float*, int64_t, float*);
template void sign<double>(const double*, int64_t, double*);
template void sign_backward<float>(bool, float, const float*, const float*, int64_t, float*);
template void sign_backward<double>(bool, double, const double*, const double*, int64_t, double*);

}  // namespace gluon_bnn
