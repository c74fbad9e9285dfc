// A strip of windows side by side, which lie in one row, is compared tap by tap: the loops are long, and have no
// branch.
#include "training/max_pool.h"

#include <algorithm>
#include <limits>
#include <type_traits>

#include "parallel.h"

namespace gluon_bnn {
namespace {

constexpr int64_t kWindows = 64;  // of a strip

// Some windows of a row of outputs: the first, and how many.
struct PoolStrip {
  int64_t y, x, size;
};

template <typename Body>
void for_each_strip_of(const PoolSizes& sizes, const Body& body) {
  for (int64_t y = 0; y < sizes.out_height; ++y) {
    for (int64_t x = 0; x < sizes.out_width; x += kWindows)
      body(PoolStrip{y, x, smaller(kWindows, sizes.out_width - x)});
  }
}

// Calls body(tap, begin, end, place) for each tap that lies inside for windows [begin, end) of a strip, row by row:
// `place` is where it lies for the strip's first window, if only in a row that goes on to both sides.
template <typename Body>
void for_each_tap(const PoolSizes& sizes, const PoolStrip& strip, const Body& body) {
  const Range down = sizes.vertical().taps(strip.y);
  const int64_t stride = sizes.stride_w;
  for (int64_t h = down.begin; h < down.end; ++h) {
    const int64_t row = (sizes.vertical().start(strip.y) + h) * sizes.width;
    for (int64_t v = 0; v < sizes.kernel_w; ++v) {
      const int64_t left = sizes.horizontal().start(strip.x) + v;
      const int64_t end = std::clamp<int64_t>(ceil_div(sizes.width - left, stride), 0, strip.size);
      const int64_t begin = std::clamp<int64_t>(ceil_div(-left, stride), 0, end);
      body(h * sizes.kernel_w + v, begin, end, row + left);
    }
  }
}

// Calls run(stride), a constant for the strides that most nets have: the compiler can then vectorise.
template <typename Run>
void with_stride(int64_t stride, const Run& run) {
  if (stride == 1) return run(std::integral_constant<int64_t, 1>());
  if (stride == 2) return run(std::integral_constant<int64_t, 2>());
  run(stride);
}

int threads_of(const PoolSizes& sizes) {
  const double places = static_cast<double>(sizes.rows) * sizes.out_height * sizes.out_width;
  return threads_for(2 * kTouch * places * sizes.kernel_h * sizes.kernel_w);
}

// The number of a tap, as wide as the numbers it is chosen for.
template <typename T>
using TapOf = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;

// As MXNet's, also in double.
constexpr float kLowest = std::numeric_limits<float>::lowest();

}  // namespace

template <typename T>
void max_pool_planes(const PoolSizes& sizes, const T* x, T* y) {
  with_stride(sizes.stride_w, [=](auto stride) {
    parallel_for<Schedule::kStatic>(threads_of(sizes), sizes.rows, [=](int64_t plane, int) {
      const T* from = x + plane * sizes.height * sizes.width;
      T* to = y + plane * sizes.out_height * sizes.out_width;
      for_each_strip_of(sizes, [&](const PoolStrip& strip) {
        T most[kWindows];
        std::fill_n(most, kWindows, T(kLowest));
        for_each_tap(sizes, strip, [&](int64_t, int64_t begin, int64_t end, int64_t place) {
          for (int64_t i = begin; i < end; ++i) {
            const T v = from[place + i * stride];
            most[i] = v > most[i] ? v : most[i];
          }
        });
        std::copy_n(most, strip.size, to);
        to += strip.size;
      });
    });
  });
}

template <typename T>
void max_pool_planes_backward(const PoolSizes& sizes, const T* dy, const T* x, T* dx) {
  // Rows of pairs: loops that write all places of a row can be vectorised.
  const bool pairs = sizes.kernel_w == 2 && sizes.stride_w == 2 && sizes.pad_w == 0;
  with_stride(sizes.stride_w, [=](auto stride) {
    parallel_for<Schedule::kStatic>(threads_of(sizes), sizes.rows, [=](int64_t plane, int) {
      const T* from = x + plane * sizes.height * sizes.width;
      const T* d = dy + plane * sizes.out_height * sizes.out_width;
      T* to = dx + plane * sizes.height * sizes.width;
      std::fill_n(to, sizes.height * sizes.width, T(0));
      for_each_strip_of(sizes, [&](const PoolStrip& strip) {
        // Loops with numbers side by side, and loops with strides: the compiler vectorises each by itself.
        T most[kWindows], values[kWindows], next[kWindows];
        TapOf<T> taken[kWindows];
        std::fill_n(most, kWindows, T(kLowest));
        std::fill_n(taken, kWindows, TapOf<T>(-1));
        for_each_tap(sizes, strip, [&](int64_t tap, int64_t begin, int64_t end, int64_t place) {
          for (int64_t i = begin; i < end; ++i) values[i] = from[place + i * stride];
          for (int64_t i = begin; i < end; ++i) {  // the first one takes it at least
            taken[i] = (values[i] > most[i]) | (taken[i] < 0) ? static_cast<TapOf<T>>(tap) : taken[i];
          }
          for (int64_t i = begin; i < end; ++i) most[i] = values[i] > most[i] ? values[i] : most[i];
        });
        const auto shares = [&](int64_t tap, int64_t begin, int64_t end, T* to_tap) {
          for (int64_t i = begin; i < end; ++i) {
            const T each = d[i];  // a load under the condition would make it an unpredictable branch
            to_tap[i] = taken[i] == static_cast<TapOf<T>>(tap) ? each : T(0);
          }
        };
        for_each_tap(sizes, strip, [&](int64_t tap, int64_t begin, int64_t end, int64_t place) {
          if (!pairs) {
            shares(tap, begin, end, values);
            for (int64_t i = begin; i < end; ++i) to[place + i * stride] += values[i];
          } else if (tap % 2 == 0) {
            shares(tap, 0, end, values);
            if (2 * end > sizes.width - 2 * strip.x) to[place + 2 * (end - 1)] += values[end - 1];  // it has no next
          } else {
            shares(tap, 0, end, next);
            T* const first = to + place - 1;
            for (int64_t i = 0; i < end; ++i) {
              first[2 * i] += values[i];
              first[2 * i + 1] += next[i];
            }
          }
        });
        d += strip.size;
      });
    });
  });
}

template void max_pool_planes<float>(const PoolSizes&, const float*, float*);
template void max_pool_planes<double>(const PoolSizes&, const double*, double*);
template void max_pool_planes_backward<float>(const PoolSizes&, const float*, const float*, float*);
template void max_pool_planes_backward<double>(const PoolSizes&, const double*, const double*, double*);

}  // namespace gluon_bnn
