// sign_scale, scale_bias and sign for the baseline of the platform; the loops are plain enough to be
// vectorised. All of them are bound by memory, so a wider instruction set would buy nothing.
#include "training/sign_scale.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "parallel.h"
#include "kernels/portable.h"

namespace gluon_bnn {
namespace {

// Part of a group that one thread does at a time. Fixed, so that sums do not depend on the threads.
constexpr int64_t kPart = 8192;

// Runs body(group, begin, end) over all blocks of all groups.
template <typename Body>
void for_each_block(int64_t groups, int64_t n, const Body& body) {
  const int64_t per_group = (n + kPart - 1) / kPart;
  parallel_for<Schedule::kStatic>(threads_for(kTouch * groups * n), groups * per_group, [&](int64_t block, int) {
    const int64_t group = block / per_group;
    const int64_t begin = group * n + (block % per_group) * kPart;
    body(group, begin, std::min(begin + kPart, (group + 1) * n));
  });
}

// The finaliser of splitmix64 (Steele, Lea, Flood 2014): 64 bits that each depend on all those of x.
uint64_t mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

// dW of a block. In terms of g = dL/d(alpha s): dsigns = alpha g and dalpha = sum_j g_j s_j, so
//   ste       g m                           = dsigns m / alpha
//   xnor      g (1/n + alpha m)             = dsigns (1/(n alpha) + m)
//   exact     alpha m g + s/n sum_j g_j s_j = dsigns m + s dalpha / n
//   notebook  g (1/n + 1[|W|<=5] W alpha/n) = dsigns (1/(n alpha) + 1[|W|<=5] W / n)
template <Gradient kGradient, typename T>
void backward_block(const T* dsigns, T dalpha, const T* w, T alpha, T clip, int64_t n, int64_t size,
                    T* dw) {
  const T inverse = T(1) / alpha;
  const T share = T(1) / n;
  const T cross = dalpha * share;
  const T direct = inverse * share;
  const bool masked = std::isfinite(clip);  // without a clip NaN passes, too
  for (int64_t i = 0; i < size; ++i) {
    const T value = w[i];
    const T mask = !masked | (std::fabs(value) <= clip) ? T(1) : T(0);
    if (kGradient == Gradient::kSte) {
      dw[i] = dsigns[i] * (inverse * mask);
    } else if (kGradient == Gradient::kXnor) {
      dw[i] = dsigns[i] * (direct + mask);
    } else if (kGradient == Gradient::kExact) {
      dw[i] = dsigns[i] * mask + (value < 0 ? -cross : cross);
    } else {
      dw[i] = dsigns[i] * (direct + (std::fabs(value) <= T(5) ? value * share : T(0)));
    }
  }
}

template <Gradient kGradient, typename T>
void backward_blocks(T clip, const T* dsigns, const T* dalpha, const T* w, const T* alpha,
                     int64_t groups, int64_t n, T* dw) {
  for_each_block(groups, n, [=](int64_t group, int64_t begin, int64_t end) {
    if (alpha[group] == 0) {  // all weights of the group are zero: no gradient, by definition
      std::fill(dw + begin, dw + end, T(0));
    } else {
      backward_block<kGradient>(dsigns + begin, dalpha[group], w + begin, alpha[group], clip, n,
                                end - begin, dw + begin);
    }
  });
}

}  // namespace

template <typename T>
void alpha_of(Scale scale, const double* sums, int64_t units, T* alpha) {
  double magnitude = 0, weight = 0;
  for (int64_t u = 0; u < units; ++u, sums += 2) {
    if (scale == Scale::kChannel) {
      alpha[u] = static_cast<T>(sums[0] / sums[1]);
    } else {
      magnitude += sums[0];
      weight += sums[1];
    }
  }
  if (scale != Scale::kChannel) alpha[0] = scale == Scale::kNone ? T(1) : static_cast<T>(magnitude / weight);
}

template <typename T>
void sign_scale(Scale scale, const T* w, const T* curvature, int64_t units, int64_t inputs, T* signs, T* alpha) {
  std::vector<double> sums(2 * units);
  parallel_for<Schedule::kStatic>(threads_for(kTouch * units * inputs), units, [&](int64_t u, int) {
    const T* row = w + u * inputs;
    for (int64_t k = 0; k < inputs; ++k) signs[u * inputs + k] = row[k] < 0 ? T(-1) : T(1);
    if (scale == Scale::kNone) return;
    magnitudes(row, scale == Scale::kLoss ? curvature + u * inputs : nullptr, inputs, &sums[2 * u]);
  });
  alpha_of(scale, sums.data(), units, alpha);
}

// A number u uniform over -1, -1 + 2^-23 .. 1 - 2^-23 is at least -w with the probability asked for: 0 for
// w = -1, 1 for w = 1. Comparing does not round as w + u would. NaN compares false: +1, as everywhere.
template <typename T>
void stochastic_sign(const T* w, int64_t size, uint64_t seed, T* signs) {
  const uint64_t start = mixed(seed);
  for_each_block(1, size, [=](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const uint64_t bits = mixed(start + static_cast<uint64_t>(i) * 0x9E3779B97F4A7C15u) >> 40;
      const T uniform = static_cast<T>(static_cast<int32_t>(bits) - (1 << 23)) * T(1.0 / (1 << 23));
      signs[i] = uniform < -w[i] ? T(-1) : T(1);
    }
  });
}

template <typename T>
void set_to_zero(T* x, int64_t size) {
  for_each_block(1, size, [=](int64_t, int64_t begin, int64_t end) {
    std::fill(x + begin, x + end, T(0));
  });
}

template <typename T>
void sign_scale_backward(Gradient gradient, T clip, const T* dsigns, const T* dalpha, const T* w,
                         const T* alpha, int64_t groups, int64_t n, T* dw) {
  switch (gradient) {
    case Gradient::kSte:
      return backward_blocks<Gradient::kSte>(clip, dsigns, dalpha, w, alpha, groups, n, dw);
    case Gradient::kXnor:
      return backward_blocks<Gradient::kXnor>(clip, dsigns, dalpha, w, alpha, groups, n, dw);
    case Gradient::kExact:
      return backward_blocks<Gradient::kExact>(clip, dsigns, dalpha, w, alpha, groups, n, dw);
    case Gradient::kNotebook:
      return backward_blocks<Gradient::kNotebook>(clip, dsigns, dalpha, w, alpha, groups, n, dw);
  }
}

template <typename T>
void sign(const T* x, int64_t size, T* y) {
  for_each_block(1, size, [=](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) y[i] = x[i] < 0 ? T(-1) : T(1);
  });
}

template <typename T>
void sign_backward(bool masked, T clip, const T* dy, const T* x, int64_t size, T* dx) {
  for_each_block(1, size, [=](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const T d = dy[i];  // read in any case, or the choice would be a branch that nobody can foresee
      const bool passes = !masked | (std::fabs(x[i]) <= clip);
      dx[i] = passes ? d : T(0);
    }
  });
}

template <typename T>
void scale_bias(const T* dot, const T* alpha, bool per_unit, const T* bias, int64_t rows,
                int64_t units, T* y) {
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

// Columns are independent, so threads take blocks of columns and every sum runs down its column.
template <typename T>
void scale_bias_backward(const T* dy, const T* dot, const T* alpha, bool per_unit, bool wants_dalpha,
                         int64_t rows, int64_t units, T* ddot, T* dalpha, T* dbias) {
  constexpr int64_t kColumns = 64;
  const int64_t blocks = (units + kColumns - 1) / kColumns;
  std::vector<double> sums_of_products(units);
  double* products = sums_of_products.data();
  parallel_for<Schedule::kStatic>(threads_for(kTouch * rows * units), blocks, [=](int64_t block, int) {
    const int64_t begin = block * kColumns;
    const int64_t width = std::min(kColumns, units - begin);
    double sums[kColumns] = {}, weighted[kColumns] = {};
    T scales[kColumns];
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

#define GLUON_BNN_INSTANTIATE(T)                                                                \
  template void alpha_of<T>(Scale, const double*, int64_t, T*);                                 \
  template void sign_scale<T>(Scale, const T*, const T*, int64_t, int64_t, T*, T*);             \
  template void stochastic_sign<T>(const T*, int64_t, uint64_t, T*);                            \
  template void set_to_zero<T>(T*, int64_t);                                                    \
  template void sign_scale_backward<T>(Gradient, T, const T*, const T*, const T*, const T*,     \
                                       int64_t, int64_t, T*);                                   \
  template void scale_bias<T>(const T*, const T*, bool, const T*, int64_t, int64_t, T*);         \
  template void scale_bias_backward<T>(const T*, const T*, const T*, bool, bool, int64_t,       \
                                       int64_t, T*, T*, T*);                                    \
  template void sign<T>(const T*, int64_t, T*);                                                 \
  template void sign_backward<T>(bool, T, const T*, const T*, int64_t, T*);
GLUON_BNN_INSTANTIATE(float)
GLUON_BNN_INSTANTIATE(double)
#undef GLUON_BNN_INSTANTIATE

}  // namespace gluon_bnn
