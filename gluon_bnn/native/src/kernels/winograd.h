// Winograd's minimal filtering for the gradient of weights of 3 x 3 (Lavin and Gray 2016, whose filters are tiles of dy
// here). Along one axis, two numbers of dy and the four of x that they meet give three sums by four products:
//
//   m0 = d0 (x0 - x2), m1 = (d0 + d1) (x1 + x2), m2 = (d0 - d1) (x2 - x1), m3 = d1 (x3 - x1)
//   d0 x0 + d1 x1 = m0 + (m1 + m2) / 2,  d0 x1 + d1 x2 = (m1 - m2) / 2,  d0 x2 + d1 x3 = m3 + (m1 + m2) / 2
//
// and along both axes, tiles of 2 x 2 and 4 x 4 numbers give nine sums by 16 products instead of 36. The products are
// added up over all tiles before the second step. Here is the first one: sums and differences only.
#ifndef GLUON_BNN_KERNELS_WINOGRAD_H_
#define GLUON_BNN_KERNELS_WINOGRAD_H_

#include "kernels/signed_sums.h"

namespace gluon_bnn {
namespace {

// The factors of dy and of x along one axis.
struct WinogradFactors {
  Vector of[4];
};

inline WinogradFactors winograd_factors(Vector d0, Vector d1) { return {{d0, d0 + d1, d0 - d1, d1}}; }

inline WinogradFactors winograd_factors(Vector x0, Vector x1, Vector x2, Vector x3) {
  return {{x0 - x2, x1 + x2, x2 - x1, x3 - x1}};
}

template <int kUnits>
inline void winograd_dy(const float* dy, int64_t place, int64_t row, int64_t tiles, float* to, int64_t part) {
  static_assert(kUnits <= kVectorLanes);
  const auto tile = [=](int64_t t, float* begin, int64_t stride) {
    const float* from = dy + 2 * t * place;
    const WinogradFactors left = winograd_factors(load_vector(from), load_vector(from + row));
    const WinogradFactors right = winograd_factors(load_vector(from + place), load_vector(from + row + place));
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const WinogradFactors across = winograd_factors(left.of[i], right.of[i]);
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) store_vector(begin + (4 * i + j) * stride, across.of[j]);
    }
  };
  // A vector may reach into the tiles after its own, which come next; what is after the last one is not ours.
  constexpr int kReached = (kVectorLanes - 1) / kUnits;
  int64_t t = 0;
  for (; t + kReached < tiles; ++t) tile(t, to + t * kUnits, part);
  for (; t < tiles; ++t) {
    float last[16 * kVectorLanes];
    tile(t, last, kVectorLanes);
    for (int i = 0; i < 16; ++i) {
      __builtin_memcpy(to + t * kUnits + i * part, last + i * kVectorLanes, kUnits * sizeof(float));
    }
  }
}

template <int kInputs>
inline void winograd_x(const float* x, int64_t place, int64_t row, int64_t tiles, float* to, int64_t part) {
  // Wider than a tile where all of the library is built for wider vectors than those of this instruction set.
  constexpr int kStored = kInputs < kVectorLanes ? kInputs : kVectorLanes;
  static_assert(kInputs % kStored == 0);
  for (int k = 0; k < kInputs; k += kVectorLanes, x += kVectorLanes, to += kVectorLanes) {
    const auto column = [=](int64_t i) {
      const float* from = x + i * place;
      return winograd_factors(load_vector(from), load_vector(from + row), load_vector(from + 2 * row),
                              load_vector(from + 3 * row));
    };
    WinogradFactors first = column(0), second = column(1);
    for (int64_t t = 0; t < tiles; ++t) {
      const WinogradFactors third = column(2 * t + 2), fourth = column(2 * t + 3);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const WinogradFactors across = winograd_factors(first.of[i], second.of[i], third.of[i], fourth.of[i]);
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) {
          __builtin_memcpy(to + t * kInputs + (4 * i + j) * part, &across.of[j], kStored * sizeof(float));
        }
      }
      first = third;
      second = fourth;
    }
  }
}

}  // namespace
}  // namespace gluon_bnn

#endif  // GLUON_BNN_KERNELS_WINOGRAD_H_
