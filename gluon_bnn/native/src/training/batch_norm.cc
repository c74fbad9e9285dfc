// The units are cut into strips, which threads share. A strip is read in the order in which it lies in memory, once for
// every sum and once for the result: row after row where units are the last axis, whose strips are as wide as a row of
// the cache takes, and place after place where each unit has places of its own, which are strips of one unit. (MXNet's
// own batch norm over the last axis reads column after column, which loads a cache line for every element.)
#include "training/batch_norm.h"

#include <algorithm>
#include <cmath>

#include "kernels/normalise.h"
#include "parallel.h"

namespace gluon_bnn {
namespace {

// Elements that are added up in T before the sum goes to a double.
constexpr int64_t kTogether = 64;

// What a function of a strip is given to do is `of`: of(u) is a function of an element's index for the strip's unit u.
// So a unit's own parameters are read once where its elements lie together. `sum` is also told which array it is the
// first to read.

// Units are the last axis.
struct LastAxis {
  static constexpr int64_t kStrip = 256;
  int64_t rows, units;

  // sums[u] = sum of of(u)(i) over the elements i of unit first + u.
  template <typename T, typename Of>
  void sum(int64_t first, int64_t width, const T*, double* sums, const Of& of) const {
    std::fill(sums, sums + width, 0.0);
    for (int64_t begin = 0; begin < rows; begin += kTogether) {
      T part[kStrip] = {};
      for (int64_t m = begin; m < std::min(rows, begin + kTogether); ++m) {
        const int64_t at = m * units + first;
        for (int64_t u = 0; u < width; ++u) part[u] += of(u)(at + u);
      }
      for (int64_t u = 0; u < width; ++u) sums[u] += part[u];
    }
  }

  // y[i] = of(u)(i) for all elements i of all units first + u.
  template <typename T, typename Of>
  void fill(int64_t first, int64_t width, T* y, const Of& of) const {
    for (int64_t m = 0; m < rows; ++m) {
      const int64_t at = m * units + first;
      T* __restrict to = y + at;
      for (int64_t u = 0; u < width; ++u) to[u] = of(u)(at + u);
    }
  }
};

// Each unit has places of its own.
struct Images {
  static constexpr int64_t kStrip = 1;
  // Sums that are kept next to each other, so that the loop over places becomes one of vectors.
  static constexpr int64_t kLanes = 32;
  int64_t rows, units, places;

  template <typename T, typename Of>
  void sum(int64_t first, int64_t, const T* read, double* sums, const Of& of) const {
    const auto term = of(0);
    T part[kLanes] = {};
    double total = 0;
    int64_t together = 0;  // elements of a lane
    const auto flush = [&] {
      for (T& each : part) total += each, each = 0;
      together = 0;
    };
    for (int64_t m = 0; m < rows; ++m) {
      const int64_t at = (m * units + first) * places;
      for (int64_t begin = 0; begin < places; begin += kLanes) {
        const int64_t i = at + begin, lanes = std::min(kLanes, places - begin);
        if (read != nullptr && begin < kForeseen) prefetch(read + i + units * places, kLanes);
        if (lanes == kLanes) {
          for (int64_t lane = 0; lane < kLanes; ++lane) part[lane] += term(i + lane);
        } else {
          for (int64_t lane = 0; lane < lanes; ++lane) part[lane] += term(i + lane);
        }
        if (++together == kTogether) flush();
      }
    }
    flush();
    sums[0] = total;
  }

  template <typename T, typename Of>
  void fill(int64_t first, int64_t, T* y, const Of& of) const {
    const auto value = of(0);
    for (int64_t m = 0; m < rows; ++m) {
      const int64_t at = (m * units + first) * places;
      T* __restrict to = y + at;
      int64_t p = 0;
      for (; p + kLanes <= places; p += kLanes) {
        if (p < kForeseen) prefetch(to + units * places + p, kLanes);
        for (int64_t lane = p; lane < p + kLanes; ++lane) to[lane] = value(at + lane);
      }
      for (; p < places; ++p) to[p] = value(at + p);
    }
  }
};

// Scratch buffer of a strip: its parameters, next to each other, and its sums.
template <typename T>
struct alignas(64) Strip {
  T mean[LastAxis::kStrip], inverse[LastAxis::kStrip], factor[LastAxis::kStrip], beta[LastAxis::kStrip];
  T slope[LastAxis::kStrip], offset[LastAxis::kStrip];
  double products[LastAxis::kStrip], sums[LastAxis::kStrip];
};

// Runs body(layout, first unit, number of units, strip) over all strips.
template <typename T, typename Body>
void for_each_strip(const BatchNormSizes& sizes, const Body& body) {
  const auto run = [&](const auto& layout) {
    constexpr int64_t kStrip = std::decay_t<decltype(layout)>::kStrip;
    const int64_t strips = (sizes.units + kStrip - 1) / kStrip;
    const int threads = threads_for(kTouch * sizes.rows * sizes.units * sizes.places);
    const Scratch<Strip<T>> scratch(threads, 1);
    parallel_for<Schedule::kDynamic>(threads, strips, [&](int64_t strip, int thread) {
      body(layout, strip * kStrip, std::min(kStrip, sizes.units - strip * kStrip), *scratch[thread]);
    });
  };
  if (sizes.places == 1) {
    run(LastAxis{sizes.rows, sizes.units});
  } else {
    run(Images{sizes.rows, sizes.units, sizes.places});
  }
}

// y = (x - mean) factor + beta with what the strip holds.
template <typename T, typename Layout>
void normalise(const Layout& layout, const T* x, int64_t first, int64_t width, const Strip<T>& s, T* y) {
  layout.template fill<T>(first, width, y, [=, &s](int64_t u) {
    return [x, mean = s.mean[u], factor = s.factor[u], beta = s.beta[u]](int64_t i) {
      return normalised(x[i], mean, factor, beta);
    };
  });
}

// dbeta and dgamma: s.sums of dy over a unit, and s.products of dy normal, normal = (x - mean) inverse.
template <typename T, typename Layout>
void parameter_gradients(const Layout& layout, const T* dy, const T* x, int64_t first, int64_t width, Strip<T>& s,
                         T* dgamma, T* dbeta) {
  layout.template sum<T>(first, width, dy, s.sums, [=](int64_t) { return [=](int64_t i) { return dy[i]; }; });
  layout.template sum<T>(first, width, x, s.products, [=, &s](int64_t u) {
    return [dy, x, mean = s.mean[u], inverse = s.inverse[u]](int64_t i) { return dy[i] * ((x[i] - mean) * inverse); };
  });
  for (int64_t u = 0; u < width; ++u) {
    dgamma[first + u] = static_cast<T>(s.products[u]);
    dbeta[first + u] = static_cast<T>(s.sums[u]);
  }
}

}  // namespace

template <typename T>
void batch_norm_train(const T* x, const T* gamma, const T* beta, const BatchNormSizes& sizes, double eps,
                      double momentum, T* running_mean, T* running_var, T* mean, T* inverse, T* y) {
  const int64_t count = sizes.rows * sizes.places;
  for_each_strip<T>(sizes, [=](const auto& layout, int64_t first, int64_t width, Strip<T>& s) {
    layout.template sum<T>(first, width, x, s.sums, [=](int64_t) { return [=](int64_t i) { return x[i]; }; });
    for (int64_t u = 0; u < width; ++u) mean[first + u] = s.mean[u] = static_cast<T>(s.sums[u] / count);
    layout.template sum<T>(first, width, nullptr, s.sums, [=, &s](int64_t u) {
      return [x, mean = s.mean[u]](int64_t i) {
        const T apart = x[i] - mean;
        return apart * apart;
      };
    });
    for (int64_t u = 0; u < width; ++u) {
      const int64_t unit = first + u;
      const double var = s.sums[u] / count;
      inverse[unit] = static_cast<T>(1 / std::sqrt(var + eps));
      s.factor[u] = gamma[unit] * inverse[unit];
      s.beta[u] = beta[unit];
      running_mean[unit] = static_cast<T>(momentum * running_mean[unit] + (1 - momentum) * s.mean[u]);
      running_var[unit] = static_cast<T>(momentum * running_var[unit] + (1 - momentum) * var);
    }
    normalise(layout, x, first, width, s, y);
  });
}

template <typename T>
void batch_norm_infer(const T* x, const T* gamma, const T* beta, const T* mean, const T* var,
                      const BatchNormSizes& sizes, double eps, T* y) {
  for_each_strip<T>(sizes, [=](const auto& layout, int64_t first, int64_t width, Strip<T>& s) {
    for (int64_t u = 0; u < width; ++u) {
      const int64_t unit = first + u;
      s.mean[u] = mean[unit];
      s.factor[u] = gamma[unit] / std::sqrt(var[unit] + static_cast<T>(eps));
      s.beta[u] = beta[unit];
    }
    normalise(layout, x, first, width, s, y);
  });
}

template <typename T>
void batch_norm_train_backward(const T* dy, const T* x, const T* gamma, const T* mean, const T* inverse,
                               const BatchNormSizes& sizes, T* dx, T* dgamma, T* dbeta) {
  const int64_t count = sizes.rows * sizes.places;
  for_each_strip<T>(sizes, [=](const auto& layout, int64_t first, int64_t width, Strip<T>& s) {
    std::copy(mean + first, mean + first + width, s.mean);
    std::copy(inverse + first, inverse + first + width, s.inverse);
    parameter_gradients(layout, dy, x, first, width, s, dgamma, dbeta);
    // dx = gamma inverse (dy - mean of dy - normal * mean of dy normal), normal = (x - mean) inverse
    for (int64_t u = 0; u < width; ++u) {
      s.factor[u] = gamma[first + u] * s.inverse[u];
      s.slope[u] = static_cast<T>(s.inverse[u] * (s.products[u] / count));
      s.offset[u] = static_cast<T>(s.sums[u] / count);
    }
    layout.template fill<T>(first, width, dx, [=, &s](int64_t u) {
      return [dy, x, mean = s.mean[u], factor = s.factor[u], slope = s.slope[u], offset = s.offset[u]](int64_t i) {
        return factor * (dy[i] - offset - (x[i] - mean) * slope);
      };
    });
  });
}

template <typename T>
void batch_norm_infer_backward(const T* dy, const T* x, const T* gamma, const T* mean, const T* var,
                               const BatchNormSizes& sizes, double eps, T* dx, T* dgamma, T* dbeta) {
  for_each_strip<T>(sizes, [=](const auto& layout, int64_t first, int64_t width, Strip<T>& s) {
    for (int64_t u = 0; u < width; ++u) {
      const T root = std::sqrt(var[first + u] + static_cast<T>(eps));
      s.mean[u] = mean[first + u];
      s.inverse[u] = T(1) / root;
      s.factor[u] = gamma[first + u] / root;
    }
    parameter_gradients(layout, dy, x, first, width, s, dgamma, dbeta);
    layout.template fill<T>(first, width, dx, [=, &s](int64_t u) {
      return [dy, factor = s.factor[u]](int64_t i) { return dy[i] * factor; };
    });
  });
}

#define GLUON_BNN_BATCH_NORM(T)                                                                                       \
  template void batch_norm_train<T>(const T*, const T*, const T*, const BatchNormSizes&, double, double, T*, T*, T*,  \
                                    T*, T*);                                                                          \
  template void batch_norm_infer<T>(const T*, const T*, const T*, const T*, const T*, const BatchNormSizes&, double,  \
                                    T*);                                                                              \
  template void batch_norm_train_backward<T>(const T*, const T*, const T*, const T*, const T*, const BatchNormSizes&, \
                                             T*, T*, T*);                                                             \
  template void batch_norm_infer_backward<T>(const T*, const T*, const T*, const T*, const T*, const BatchNormSizes&, \
                                             double, T*, T*, T*);
GLUON_BNN_BATCH_NORM(float)
GLUON_BNN_BATCH_NORM(double)
#undef GLUON_BNN_BATCH_NORM

}  // namespace gluon_bnn
