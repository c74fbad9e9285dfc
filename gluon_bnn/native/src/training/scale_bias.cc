#include "training/scale_bias.h"

#include <algorithm>
#include <vector>

#include "kernels/table.h"
#include "parallel.h"

namespace gluon_bnn {

template <typename T>
void scale_bias(const T* dot, const T* alpha, bool per_unit, const T* bias, int64_t rows, int64_t units, T* y) {
  parallel_for<Schedule::kStatic>(threads_for(kTouch * rows * units), rows, [=](int64_t row, int) {
    const T* from = dot + row * units;
    T* to = y + row * units;
    if (per_unit) {
      for (int64_t unit = 0; unit < units; ++unit) to[unit] = alpha[unit] * from[unit];
    } else {
      const T scale = alpha[0];
      for (int64_t unit = 0; unit < units; ++unit) to[unit] = scale * from[unit];
    }
    if (bias != nullptr) {
      for (int64_t unit = 0; unit < units; ++unit) to[unit] += bias[unit];
    }
  });
}

// The units are independent: threads take blocks of them, and every sum goes over its rows in order.
template <typename T>
void scale_bias_backward(const T* dy, const T* dot, const T* alpha, bool per_unit, bool wants_dalpha, int64_t rows,
                         int64_t units, T* ddot, T* dalpha, T* dbias) {
  constexpr int64_t kUnits = 64;
  const int64_t blocks = ceil_div(units, kUnits);
  std::vector<double> sums_of_products(units);
  double* products = sums_of_products.data();
  parallel_for<Schedule::kStatic>(threads_for(kTouch * rows * units), blocks, [=](int64_t block, int) {
    const int64_t begin = block * kUnits;
    const int64_t width = std::min(kUnits, units - begin);
    double sums[kUnits] = {}, weighted[kUnits] = {};
    T scales[kUnits];
    for (int64_t i = 0; i < width; ++i) scales[i] = alpha[per_unit ? begin + i : 0];
    for (int64_t row = 0; row < rows; ++row) {
      const T* d = dy + row * units + begin;
      const T* x = dot + row * units + begin;
      T* to = ddot + row * units + begin;
      for (int64_t i = 0; i < width; ++i) {
        to[i] = scales[i] * d[i];
        sums[i] += d[i];
      }
      if (wants_dalpha) {
        for (int64_t i = 0; i < width; ++i) weighted[i] += static_cast<double>(d[i]) * x[i];
      }
    }
    for (int64_t i = 0; i < width; ++i) {
      if (dbias != nullptr) dbias[begin + i] = static_cast<T>(sums[i]);
      products[begin + i] = weighted[i];
    }
  });
  if (per_unit) {
    for (int64_t unit = 0; unit < units; ++unit) dalpha[unit] = static_cast<T>(products[unit]);
  } else {
    double sum = 0;
    for (double product : sums_of_products) sum += product;
    dalpha[0] = static_cast<T>(sum);
  }
}

#define GLUON_BNN_INSTANTIATE(T)                                                         \
  template void scale_bias<T>(const T*, const T*, bool, const T*, int64_t, int64_t, T*); \
  template void scale_bias_backward<T>(const T*, const T*, const T*, bool, bool, int64_t, int64_t, T*, T*, T*);
GLUON_BNN_INSTANTIATE(float)
GLUON_BNN_INSTANTIATE(double)
#undef GLUON_BNN_INSTANTIATE

}  // namespace gluon_bnn
