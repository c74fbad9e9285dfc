// Adam in blocks that threads share; the loop is in kernels/portable.h, for float once an instruction set.
#include "training/adam.h"

#include <algorithm>

#include "parallel.h"
#include "kernels/portable.h"

namespace gluon_bnn {
namespace {

// Part of the arrays that one thread does at a time.
constexpr int64_t kPart = 8192;

template <typename T, typename Loop>
void in_parts(const Loop& loop, const AdamStep& step, const T* grad, int64_t size, T* weight, T* mean, T* var,
              T* curvature) {
  parallel_for<Schedule::kDynamic>(threads_for(kTouch * size), ceil_div(size, kPart), [&](int64_t part, int) {
    const int64_t begin = part * kPart;
    loop(step, grad + begin, std::min(kPart, size - begin), weight + begin, mean + begin, var + begin,
         curvature == nullptr ? nullptr : curvature + begin);
  });
}

}  // namespace

void adam_update(const AdamStep& step, const float* grad, int64_t size, float* weight, float* mean, float* var,
                 float* curvature) {
  in_parts(kernels().adam, step, grad, size, weight, mean, var, curvature);
}

void adam_update(const AdamStep& step, const double* grad, int64_t size, double* weight, double* mean, double* var,
                 double* curvature) {
  in_parts(adam<double>, step, grad, size, weight, mean, var, curvature);
}

}  // namespace gluon_bnn
