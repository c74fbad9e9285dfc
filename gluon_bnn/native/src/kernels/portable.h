// Loops that need no intrinsics: compilers vectorise them well. Each instruction set's file includes them, and so
// compiles them with its flags, for its kernel table; others do for the baseline. All of it is local to the file.
#ifndef GLUON_BNN_KERNELS_PORTABLE_H_
#define GLUON_BNN_KERNELS_PORTABLE_H_

#include <cmath>

#include "kernels/correlation.h"
#include "kernels/signed_sums.h"
#include "kernels/table.h"
#include "kernels/winograd.h"

namespace gluon_bnn {
namespace {

// y = ((alpha dot + bias) - mean) factor + beta for `size` units, rounded after every step. `dot(u)` is a float.
template <typename Dot>
inline void epilogue_units(int64_t begin, int64_t size, const Epilogue& a, float* __restrict y, const Dot& dot) {
  if (a.mean == nullptr) {
    for (int64_t i = 0; i < size; ++i) {
      const int64_t u = begin + i;
      y[u] = a.alpha[u] * dot(u) + a.bias[u];
    }
  } else {
    for (int64_t i = 0; i < size; ++i) {
      const int64_t u = begin + i;
      y[u] = ((a.alpha[u] * dot(u) + a.bias[u]) - a.mean[u]) * a.factor[u] + a.beta[u];
    }
  }
}

// A row in strips of kBlock units, whose loops the compiler can unroll, and the rest.
template <typename Dot>
inline void epilogue_row(int64_t units, const Epilogue& a, float* __restrict y, const Dot& dot) {
  int64_t begin = 0;
  for (; begin + kBlock <= units; begin += kBlock) epilogue_units(begin, kBlock, a, y, dot);
  epilogue_units(begin, units - begin, a, y, dot);
}

// inputs <= 2^30. Twice a count, and dot + sums, may then be 2^31, which int32 does not hold. So
//   dot   = (inputs - count) - count
//   dot01 = (dot + sums) / 2 = (inputs + sums) / 2 - count = (inputs + 1) / 2 + floor(sums / 2) - count,
// with the first quotient rounded down: inputs and sums are both even or both odd. Every step is at most 2^30 in size.
inline void epilogue_xnor(const int32_t* counts, int64_t rows, int64_t units, int64_t inputs, const Epilogue& epilogue,
                          float* y, int64_t y_stride) {
  const int32_t k = static_cast<int32_t>(inputs), half = static_cast<int32_t>((inputs + 1) / 2);
  for (int64_t r = 0; r < rows; ++r, counts += kTileUnits, y += y_stride) {
    if (epilogue.sums == nullptr) {
      epilogue_row(units, epilogue, y, [=](int64_t u) { return static_cast<float>(k - counts[u] - counts[u]); });
    } else {
      const int32_t* sums = epilogue.sums;
      epilogue_row(units, epilogue, y,
                   [=](int64_t u) { return static_cast<float>(half + (sums[u] >> 1) - counts[u]); });
    }
  }
}

inline void epilogue_lut(const float* sums, int64_t sums_stride, int64_t rows, int64_t units, const Epilogue& epilogue,
                         float* y, int64_t y_stride) {
  for (int64_t r = 0; r < rows; ++r, sums += sums_stride, y += y_stride) {
    epilogue_row(units, epilogue, y, [=](int64_t u) { return sums[u]; });
  }
}

inline void epilogue_u8(const int32_t* sums, int64_t rows, int64_t units, const Epilogue& epilogue, float* y,
                        int64_t y_stride) {
  for (int64_t r = 0; r < rows; ++r, sums += kTileUnits, y += y_stride) {
    epilogue_row(units, epilogue, y, [=](int64_t u) { return static_cast<float>(sums[u]); });
  }
}

// The sums of a tile stay in registers, if there are enough of them, while rows pass by.
template <int kUnits, int kInputs>
inline void dw_gemm(const float* dy, const float* x, int64_t rows, bool begin, float* sums, int64_t stride) {
  float parts[kUnits][kInputs] = {};
  for (int64_t m = 0; m < rows; ++m, dy += kUnits, x += kInputs) {
    for (int u = 0; u < kUnits; ++u) {
      for (int k = 0; k < kInputs; ++k) parts[u][k] += dy[u] * x[k];
    }
  }
  for (int u = 0; u < kUnits; ++u) {
    float* to = sums + u * stride;
    for (int k = 0; k < kInputs; ++k) to[k] = begin ? parts[u][k] : to[k] + parts[u][k];
  }
}

// The sum of `size` terms, in 8 lanes so that it can be vectorised. The rest goes to the first lane.
template <typename Term>
inline double add_up(int64_t size, const Term& term) {
  constexpr int kTerms = 8;
  double lanes[kTerms] = {};
  int64_t i = 0;
  for (; i + kTerms <= size; i += kTerms) {
    for (int lane = 0; lane < kTerms; ++lane) lanes[lane] += term(i + lane);
  }
  for (; i < size; ++i) lanes[0] += term(i);
  double sum = 0;
  for (double lane : lanes) sum += lane;
  return sum;
}

template <typename T>
inline void magnitudes(const T* w, const T* l, int64_t size, double sums[2]) {
  if (l == nullptr) {
    sums[0] = add_up(size, [=](int64_t i) { return std::fabs(w[i]); });
    sums[1] = static_cast<double>(size);
  } else {
    sums[0] = add_up(size, [=](int64_t i) { return static_cast<double>(l[i]) * std::fabs(w[i]); });
    sums[1] = add_up(size, [=](int64_t i) { return l[i]; });
  }
}

template <typename T>
inline T clipped(T x, T most) {
  return x > most ? most : (x < -most ? -most : x);
}

// The operations have the order of MXNet's AdamUpdateKernel, so that both give the same bits. Every element needs a
// square root and a division, which without wide vectors take longer than memory does.
template <bool kCurvature, typename T>
inline void adam_loop(const AdamStep& step, const T* __restrict grad, int64_t size, T* __restrict weight,
                      T* __restrict mean, T* __restrict var, T* __restrict curvature) {
  const T lr = step.lr, beta1 = step.beta1, beta2 = step.beta2, epsilon = step.epsilon, wd = step.wd;
  const T rescale = step.rescale_grad, most = step.clip_gradient, bound = step.clip_weights;
  for (int64_t i = 0; i < size; ++i) {
    const T g = clipped(grad[i] * rescale + weight[i] * wd, most);
    const T m = beta1 * mean[i] + (T(1) - beta1) * g;
    const T v = beta2 * var[i] + (T(1) - beta2) * g * g;
    const T root = std::sqrt(v);
    mean[i] = m;
    var[i] = v;
    weight[i] = clipped(weight[i] - lr * m / (root + epsilon), bound);
    if (kCurvature) curvature[i] = root + T(1e-8);
  }
}

template <typename T>
inline void adam(const AdamStep& step, const T* grad, int64_t size, T* weight, T* mean, T* var, T* curvature) {
  (curvature == nullptr ? adam_loop<false, T> : adam_loop<true, T>)(step, grad, size, weight, mean, var, curvature);
}

// A strip of units that stays in registers while k ascends.
template <int kStrip>
void dense_strip(const float* x, int64_t inputs, const float* w, int64_t w_stride, const float* bias, float* y) {
  float sums[kStrip] = {};
  for (int64_t begin = 0; begin < inputs; begin += kSumWords * kWord) {
    const int64_t end = smaller(inputs, begin + kSumWords * kWord);
    float parts[kStrip] = {};
    for (int64_t k = begin; k < end; ++k) {
      for (int u = 0; u < kStrip; ++u) parts[u] += x[k] * w[k * w_stride + u];
    }
    for (int u = 0; u < kStrip; ++u) sums[u] += parts[u];
  }
  for (int u = 0; u < kStrip; ++u) y[u] = bias == nullptr ? sums[u] : sums[u] + bias[u];
}

inline void dense_f32(const float* x, int64_t inputs, const float* w, int64_t w_stride, const float* bias,
                      int64_t units, float* y) {
  int64_t u = 0;
  const auto at = [&](int64_t unit) { return bias == nullptr ? nullptr : bias + unit; };
  for (; u + 64 <= units; u += 64) dense_strip<64>(x, inputs, w + u, w_stride, at(u), y + u);
  for (; u + 8 <= units; u += 8) dense_strip<8>(x, inputs, w + u, w_stride, at(u), y + u);
  for (; u < units; ++u) dense_strip<1>(x, inputs, w + u, w_stride, at(u), y + u);
}

// A table with the kernels of this file. Each instruction set writes its own over it, field by field: two swapped
// entries of a list without names would compile. The tables are constants because the library asks for all of them when
// it is loaded: code that fills one might use instructions that the machine does not have.
constexpr Kernels portable_kernels(const char* name) {
  Kernels k = {};
  k.name = name;
  k.epilogue_xnor = epilogue_xnor;
  k.epilogue_lut = epilogue_lut;
  k.epilogue_u8 = epilogue_u8;
  k.signed_sums = signed_sums;
  k.add_signed_sums = add_signed_sums;
  k.dense_f32 = dense_f32;
  k.correlate = correlate;
  k.vector_lanes = kVectorLanes;
  k.magnitudes = magnitudes<float>;
  k.adam = adam<float>;
  return k;
}

}  // namespace
}  // namespace gluon_bnn

#endif  // GLUON_BNN_KERNELS_PORTABLE_H_
