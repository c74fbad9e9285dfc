// Adam for the baseline of the platform; the loops are plain enough to be vectorised. Bound by memory (seven
// streams, eight with the curvature), so a wider instruction set would buy nothing.
#include "optimizer.h"

#include <algorithm>
#include <cmath>

namespace gluon_bnn {
namespace {

// Part of the arrays that one thread does at a time.
constexpr int64_t kBlock = 8192;
// Below this many numbers, waking another thread costs more than it saves.
constexpr int64_t kParallel = 32768;

template <typename T>
T clipped(T x, T most) {
  return x > most ? most : (x < -most ? -most : x);
}

// Operations in the order of MXNet's AdamUpdateKernel, so that both give the same bits.
template <typename T>
void adam_block(const AdamStep& step, const T* __restrict grad, int64_t size, T* __restrict weight,
                T* __restrict mean, T* __restrict var) {
  const T lr = step.lr, beta1 = step.beta1, beta2 = step.beta2, epsilon = step.epsilon, wd = step.wd;
  const T rescale = step.rescale_grad, most = step.clip_gradient, bound = step.clip_weights;
  for (int64_t i = 0; i < size; ++i) {
    const T g = clipped(grad[i] * rescale + weight[i] * wd, most);
    const T m = beta1 * mean[i] + (T(1) - beta1) * g;
    const T v = beta2 * var[i] + (T(1) - beta2) * g * g;
    mean[i] = m;
    var[i] = v;
    weight[i] = clipped(weight[i] - lr * m / (std::sqrt(v) + epsilon), bound);
  }
}

}  // namespace

template <typename T>
void adam(const AdamStep& step, const T* grad, int64_t size, T* weight, T* mean, T* var, T* curvature) {
  const int64_t blocks = (size + kBlock - 1) / kBlock;
#pragma omp parallel for schedule(static) if (size >= kParallel)
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t begin = block * kBlock, end = std::min(begin + kBlock, size);
    adam_block(step, grad + begin, end - begin, weight + begin, mean + begin, var + begin);
    if (curvature == nullptr) continue;
    for (int64_t i = begin; i < end; ++i) curvature[i] = std::sqrt(var[i]) + T(1e-8);
  }
}

template void adam<float>(const AdamStep&, const float*, int64_t, float*, float*, float*, float*);
template void adam<double>(const AdamStep&, const double*, int64_t, double*, double*, double*, double*);

}  // namespace gluon_bnn
