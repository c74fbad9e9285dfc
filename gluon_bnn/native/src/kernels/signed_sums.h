// Products of floats and bits whose vectors run along the floats' other axis. All 16 signed sums of four inputs are
// made beforehand, each for a whole row of lanes; four bits of an output then choose one of them, which is added to the
// output's lanes: a load and an addition for four products in every lane. The sums cost as much as some 30 outputs, so
// this pays where the same inputs have many outputs, as in convolutions. Written with the vectors of GCC and Clang, as
// wide as the file that includes it may use.
#ifndef GLUON_BNN_KERNELS_SIGNED_SUMS_H_
#define GLUON_BNN_KERNELS_SIGNED_SUMS_H_

#include "kernels/table.h"

namespace gluon_bnn {
namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif
typedef float Vector __attribute__((vector_size(kVectorBytes)));
constexpr int kVectorLanes = kVectorBytes / sizeof(float), kLaneVectors = kLanes / kVectorLanes;

inline Vector load_vector(const float* from) {
  Vector v;
  __builtin_memcpy(&v, from, sizeof(v));
  return v;
}

inline void store_vector(float* to, Vector v) { __builtin_memcpy(to, &v, sizeof(v)); }

template <int kVectors>
inline void add_vectors_of_sums(const float* sums, const uint32_t* bits, const int64_t* offsets, int64_t outputs,
                                const int64_t* places, float* y) {
  int64_t at[kVectors];
  for (int v = 0; v < kVectors; ++v) at[v] = places[v * kVectorLanes / kQuad];
  for (int64_t k = 0; k < outputs; ++k) {
    float* to = y + offsets[k];
    const uint64_t word = uint64_t{bits[k]} * kLanes;  // so that four bits of it are an index of floats
    Vector acc[kVectors];
    for (int v = 0; v < kVectors; ++v) acc[v] = load_vector(to + at[v]);
#pragma GCC unroll 8
    for (int64_t g = 0; g < kWordGroups; ++g) {
      const float* from = sums + g * kLutEntries * kLanes + (word >> 4 * g & (kLutEntries - 1) * kLanes);
      for (int v = 0; v < kVectors; ++v) acc[v] += load_vector(from + v * kVectorLanes);
    }
    for (int v = 0; v < kVectors; ++v) store_vector(to + at[v], acc[v]);
  }
}

// Where few lanes are used, as at the end of a region or where images are small, one vector does.
inline void signed_sums(const float* const* x, const int64_t* places, int64_t lanes, float* sums) {
  const int64_t end = lanes <= kVectorLanes ? kVectorLanes : kLanes;
  for (int64_t g = 0; g < kWordGroups; ++g, x += kGroup, sums += kLutEntries * kLanes) {
    for (int64_t lane = 0; lane < end; lane += kVectorLanes) {
      const int64_t at = places[lane / kQuad];
      const Vector x0 = load_vector(x[0] + at), x1 = load_vector(x[1] + at);
      const Vector x2 = load_vector(x[2] + at), x3 = load_vector(x[3] + at);
      const Vector left[4] = {x0 + x1, -x0 + x1, x0 - x1, -x0 - x1};
      const Vector right[4] = {x2 + x3, -x2 + x3, x2 - x3, -x2 - x3};
      for (int n = 0; n < kLutEntries; ++n) store_vector(sums + n * kLanes + lane, left[n % 4] + right[n / 4]);
    }
  }
}

inline void add_signed_sums(const float* sums, int64_t lanes, const uint32_t* bits, const int64_t* offsets,
                            int64_t outputs, const int64_t* places, float* y) {
  if (lanes <= kVectorLanes) return add_vectors_of_sums<1>(sums, bits, offsets, outputs, places, y);
  add_vectors_of_sums<kLaneVectors>(sums, bits, offsets, outputs, places, y);
}

}  // namespace
}  // namespace gluon_bnn

#endif  // GLUON_BNN_KERNELS_SIGNED_SUMS_H_
