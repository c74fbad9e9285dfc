// Adam in parts that threads share. The loop is in kernels/portable.h, for float compiled once per instruction set.
#include "training/adam.h"

#include "kernels/portable.h"
#include "parallel.h"

namespace gluon_bnn {
namespace {

template <typename T, typename Loop>
void in_parts(const Loop& loop, const AdamStep& step, const T* grad, int64_t size, T* weight, T* mean, T* var,
              T* curvature) {
  // Four arrays are read and three are written.
  constexpr double kWork = 5 * kTouch;
  const auto part = [&](int64_t, int64_t begin, int64_t end) {
    loop(step, grad + begin, end - begin, weight + begin, mean + begin, var + begin,
         curvature == nullptr ? nullptr : curvature + begin);
  };
  for_each_part<Schedule::kDynamic>(1, size, part, kWork);
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
