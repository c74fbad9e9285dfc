// Adam in blocks that threads share; the loop is in plain_loops.h, for float once an instruction set.
#include "optimizer.h"

#include <algorithm>

#include "plain_loops.h"

namespace gluon_bnn {
namespace {

// Part of the arrays that one thread does at a time.
constexpr int64_t kPart = 8192;
// Below this many numbers, waking another thread costs more than it saves.
constexpr int64_t kParallel = 32768;

template <typename T, typename Loop>
void in_parts(const Loop& loop, const AdamStep& step, const T* grad, int64_t size, T* weight, T* mean, T* var,
              T* curvature) {
#pragma omp parallel for schedule(dynamic) if (size >= kParallel)
  for (int64_t begin = 0; begin < size; begin += kPart) {
    loop(step, grad + begin, std::min(kPart, size - begin), weight + begin, mean + begin, var + begin,
         curvature == nullptr ? nullptr : curvature + begin);
  }
}

}  // namespace

void update(const AdamStep& step, const float* grad, int64_t size, float* weight, float* mean, float* var,
            float* curvature) {
  in_parts(kernels().adam, step, grad, size, weight, mean, var, curvature);
}

void update(const AdamStep& step, const double* grad, int64_t size, double* weight, double* mean, double* var,
            double* curvature) {
  in_parts(adam<double>, step, grad, size, weight, mean, var, curvature);
}

}  // namespace gluon_bnn
