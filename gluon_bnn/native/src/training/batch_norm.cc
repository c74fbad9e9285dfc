// The units are cut into strips. A strip is read row after row, once for every sum and once for the result. MXNet's own
// batch norm reads column after column, which loads a cache line for every element.
#include "training/batch_norm.h"

#include <algorithm>
#include <cmath>

#include "kernels/normalise.h"
#include "parallel.h"

namespace gluon_bnn {
namespace {

constexpr int64_t kStrip = 256;
// Rows that are added up in T before the sum goes to a double.
constexpr int64_t kRows = 64;

// Scratch buffer of a strip: its parameters, next to each other, and its sums.
template <typename T>
struct alignas(64) Strip {
  T mean[kStrip], inverse[kStrip], factor[kStrip], beta[kStrip], slope[kStrip], offset[kStrip];
  double products[kStrip], sums[kStrip];
};

// Runs body(first unit, number of units, strip) over all strips.
template <typename T, typename Body>
void for_each_strip(int64_t rows, int64_t units, const Body& body) {
  const int64_t strips = (units + kStrip - 1) / kStrip;
  const int threads = threads_for(kTouch * rows * units);
  const Scratch<Strip<T>> scratch(threads, 1);
  parallel_for<Schedule::kDynamic>(threads, strips, [&](int64_t strip, int thread) {
    body(strip * kStrip, std::min(kStrip, units - strip * kStrip), *scratch[thread]);
  });
}

// sums[u] = sum over rows of term(at, u), `at` being where the row's strip begins.
template <typename T, typename Term>
void sum_rows(int64_t rows, int64_t units, int64_t first, int64_t width, double* sums, const Term& term) {
  std::fill(sums, sums + width, 0.0);
  for (int64_t begin = 0; begin < rows; begin += kRows) {
    T part[kStrip] = {};
    for (int64_t m = begin; m < std::min(rows, begin + kRows); ++m) {
      const int64_t at = m * units + first;
      for (int64_t u = 0; u < width; ++u) part[u] += term(at, u);
    }
    for (int64_t u = 0; u < width; ++u) sums[u] += part[u];
  }
}

// dbeta and dgamma: s.sums of dy over rows, and s.products of dy normal, normal = (x - mean) inverse.
template <typename T>
void parameter_gradients(const T* dy, const T* x, int64_t rows, int64_t units, int64_t first, int64_t width,
                         Strip<T>& s, T* dgamma, T* dbeta) {
  sum_rows<T>(rows, units, first, width, s.sums, [=](int64_t at, int64_t u) { return dy[at + u]; });
  sum_rows<T>(rows, units, first, width, s.products,
              [=, &s](int64_t at, int64_t u) { return dy[at + u] * ((x[at + u] - s.mean[u]) * s.inverse[u]); });
  for (int64_t u = 0; u < width; ++u) {
    dgamma[first + u] = static_cast<T>(s.products[u]);
    dbeta[first + u] = static_cast<T>(s.sums[u]);
  }
}

}  // namespace

template <typename T>
void batch_norm_train(const T* x, const T* gamma, const T* beta, int64_t rows, int64_t units, double eps,
                      double momentum, T* running_mean, T* running_var, T* mean, T* inverse, T* y) {
  for_each_strip<T>(rows, units, [=](int64_t first, int64_t width, Strip<T>& s) {
    sum_rows<T>(rows, units, first, width, s.sums, [=](int64_t at, int64_t u) { return x[at + u]; });
    for (int64_t u = 0; u < width; ++u) mean[first + u] = s.mean[u] = static_cast<T>(s.sums[u] / rows);
    sum_rows<T>(rows, units, first, width, s.sums, [=, &s](int64_t at, int64_t u) {
      const T apart = x[at + u] - s.mean[u];
      return apart * apart;
    });
    for (int64_t u = 0; u < width; ++u) {
      const int64_t unit = first + u;
      const double var = s.sums[u] / rows;
      inverse[unit] = static_cast<T>(1 / std::sqrt(var + eps));
      s.factor[u] = gamma[unit] * inverse[unit];
      s.beta[u] = beta[unit];
      running_mean[unit] = static_cast<T>(momentum * running_mean[unit] + (1 - momentum) * s.mean[u]);
      running_var[unit] = static_cast<T>(momentum * running_var[unit] + (1 - momentum) * var);
    }
    normalise(x + first, s.mean, s.factor, s.beta, rows, width, units, y + first);
  });
}

template <typename T>
void batch_norm_infer(const T* x, const T* gamma, const T* beta, const T* mean, const T* var, int64_t rows,
                      int64_t units, double eps, T* y) {
  for_each_strip<T>(rows, units, [=](int64_t first, int64_t width, Strip<T>& s) {
    for (int64_t u = 0; u < width; ++u) {
      const int64_t unit = first + u;
      s.mean[u] = mean[unit];
      s.factor[u] = gamma[unit] / std::sqrt(var[unit] + static_cast<T>(eps));
      s.beta[u] = beta[unit];
    }
    normalise(x + first, s.mean, s.factor, s.beta, rows, width, units, y + first);
  });
}

template <typename T>
void batch_norm_train_backward(const T* dy, const T* x, const T* gamma, const T* mean, const T* inverse, int64_t rows,
                               int64_t units, T* dx, T* dgamma, T* dbeta) {
  for_each_strip<T>(rows, units, [=](int64_t first, int64_t width, Strip<T>& s) {
    std::copy(mean + first, mean + first + width, s.mean);
    std::copy(inverse + first, inverse + first + width, s.inverse);
    parameter_gradients(dy, x, rows, units, first, width, s, dgamma, dbeta);
    // dx = gamma inverse (dy - mean of dy - normal * mean of dy normal), normal = (x - mean) inverse
    for (int64_t u = 0; u < width; ++u) {
      s.factor[u] = gamma[first + u] * s.inverse[u];
      s.slope[u] = static_cast<T>(s.inverse[u] * (s.products[u] / rows));
      s.offset[u] = static_cast<T>(s.sums[u] / rows);
    }
    for (int64_t m = 0; m < rows; ++m) {
      const T *from = x + m * units + first, *d = dy + m * units + first;
      T* __restrict to = dx + m * units + first;
      for (int64_t u = 0; u < width; ++u) {
        to[u] = s.factor[u] * (d[u] - s.offset[u] - (from[u] - s.mean[u]) * s.slope[u]);
      }
    }
  });
}

template <typename T>
void batch_norm_infer_backward(const T* dy, const T* x, const T* gamma, const T* mean, const T* var, int64_t rows,
                               int64_t units, double eps, T* dx, T* dgamma, T* dbeta) {
  for_each_strip<T>(rows, units, [=](int64_t first, int64_t width, Strip<T>& s) {
    for (int64_t u = 0; u < width; ++u) {
      const T root = std::sqrt(var[first + u] + static_cast<T>(eps));
      s.mean[u] = mean[first + u];
      s.inverse[u] = T(1) / root;
      s.factor[u] = gamma[first + u] / root;
    }
    parameter_gradients(dy, x, rows, units, first, width, s, dgamma, dbeta);
    for (int64_t m = 0; m < rows; ++m) {
      const T* d = dy + m * units + first;
      T* __restrict to = dx + m * units + first;
      for (int64_t u = 0; u < width; ++u) to[u] = d[u] * s.factor[u];
    }
  });
}

#define GLUON_BNN_BATCH_NORM(T)                                                                                      \
  template void batch_norm_train<T>(const T*, const T*, const T*, int64_t, int64_t, double, double, T*, T*, T*, T*,  \
                                    T*);                                                                             \
  template void batch_norm_infer<T>(const T*, const T*, const T*, const T*, const T*, int64_t, int64_t, double, T*); \
  template void batch_norm_train_backward<T>(const T*, const T*, const T*, const T*, const T*, int64_t, int64_t, T*, \
                                             T*, T*);                                                                \
  template void batch_norm_infer_backward<T>(const T*, const T*, const T*, const T*, const T*, int64_t, int64_t,     \
                                             double, T*, T*, T*);
GLUON_BNN_BATCH_NORM(float)
GLUON_BNN_BATCH_NORM(double)
#undef GLUON_BNN_BATCH_NORM

}  // namespace gluon_bnn
