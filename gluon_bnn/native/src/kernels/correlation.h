// Sums of products of floats along the places of images: the weight gradient of a convolution, whose every number is
// such a sum, with places as the lanes of vectors. MXNet's arrays have the places next to each other, so nothing has to
// be transposed, and an input serves all taps that meet it.
#ifndef GLUON_BNN_KERNELS_CORRELATION_H_
#define GLUON_BNN_KERNELS_CORRELATION_H_

#include "kernels/signed_sums.h"

#if defined(__FMA__) || defined(__AVX512F__)
#include <immintrin.h>
#elif defined(__aarch64__) && defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace gluon_bnn {
namespace {

// a b + c, rounded once where there is an instruction for it: -ffp-contract=off keeps compilers from fusing the two.
inline Vector multiply_add(Vector a, Vector b, Vector c) {
#if defined(__AVX512F__)
  return (Vector)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__) && defined(__AVX__)
  return (Vector)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__) && defined(__ARM_NEON)
  return (Vector)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  return a * b + c;
#endif
}

inline float sum_of_lanes(Vector v) {
  typedef float Four __attribute__((vector_size(16)));
  Four fours[kVectorLanes / 4];
  __builtin_memcpy(fours, &v, sizeof(v));
  for (int half = kVectorLanes / 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) fours[i] += fours[i + half];
  }
  return (fours[0][0] + fours[0][1]) + (fours[0][2] + fours[0][3]);
}

constexpr int kCorrelatedInputs = 3;  // with kCorrelatedUnits, 12 sums and what they are made of fit 16 registers

// Vectors of places, in loops of which the inner one is the longer: rows of a single vector are its steps.
struct CorrelatedVectors {
  int64_t images, rows, x_image, x_row, count, step;

  explicit CorrelatedVectors(const CorrelatedPlaces& p) : images(p.images), x_image(p.x_image) {
    const bool single = p.size == kVectorLanes;
    rows = single ? 1 : p.rows;
    x_row = p.x_row;
    count = single ? p.rows : p.size / kVectorLanes;
    step = single ? p.x_row : kVectorLanes;
  }
};

template <int kInputs>
inline void correlate_tile(const CorrelatedVectors& all, const float* dy, int64_t dy_stride, const float* x,
                           const int64_t* offsets, float* sums, int64_t stride) {
  const CorrelatedVectors v = all;
  const float* inputs[kInputs];
  for (int k = 0; k < kInputs; ++k) inputs[k] = x + offsets[k];
  Vector acc[kCorrelatedUnits][kInputs] = {};
  for (int64_t image = 0; image < v.images; ++image) {
    for (int64_t row = 0; row < v.rows; ++row) {
      int64_t at = image * v.x_image + row * v.x_row;
#pragma GCC unroll 1
      for (int64_t i = 0; i < v.count; ++i, at += v.step, dy += kVectorLanes) {
        Vector d[kCorrelatedUnits];
#pragma GCC unroll 4
        for (int u = 0; u < kCorrelatedUnits; ++u) d[u] = load_vector(dy + u * dy_stride);
#pragma GCC unroll 4
        for (int k = 0; k < kInputs; ++k) {
          const Vector input = load_vector(inputs[k] + at);
#pragma GCC unroll 4
          for (int u = 0; u < kCorrelatedUnits; ++u) acc[u][k] = multiply_add(d[u], input, acc[u][k]);
        }
      }
    }
  }
  for (int u = 0; u < kCorrelatedUnits; ++u) {
    for (int k = 0; k < kInputs; ++k) sums[u * stride + k] += sum_of_lanes(acc[u][k]);
  }
}

inline void correlate(const CorrelatedPlaces& places, const float* dy, int64_t dy_stride, const float* x,
                      const int64_t* offsets, int64_t inputs, float* sums, int64_t stride) {
  const CorrelatedVectors all(places);
  int64_t k = 0;
  for (; k + kCorrelatedInputs <= inputs; k += kCorrelatedInputs) {
    correlate_tile<kCorrelatedInputs>(all, dy, dy_stride, x, offsets + k, sums + k, stride);
  }
  for (; k < inputs; ++k) correlate_tile<1>(all, dy, dy_stride, x, offsets + k, sums + k, stride);
}

}  // namespace
}  // namespace gluon_bnn

#endif  // GLUON_BNN_KERNELS_CORRELATION_H_
