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

// What a window has that holds no number, as in MXNet.
template <typename T>
constexpr T kLowest = std::numeric_limits<T>::lowest();

// Whether windows are 2 x 2 places side by side, as most are.
bool are_squares(const PoolSizes& sizes) {
  return sizes.kernel_h == 2 && sizes.kernel_w == 2 && sizes.stride_h == 2 && sizes.stride_w == 2 && sizes.pad_h == 0 &&
         sizes.pad_w == 0 && 2 * sizes.out_height <= sizes.height && 2 * sizes.out_width <= sizes.width;
}

// `size` squares of two rows, in one loop.
template <typename T>
void pool_squares(const T* top, const T* bottom, int64_t size, T* __restrict y) {
  for (int64_t i = 0; i < size; ++i) {
    T most = kLowest<T>;
    for (const T v : {top[2 * i], top[2 * i + 1], bottom[2 * i], bottom[2 * i + 1]}) most = v > most ? v : most;
    y[i] = most;
  }
}

template <typename T>
void pool_squares_backward(const T* dy, const T* top, const T* bottom, int64_t size, T* __restrict dtop,
                           T* __restrict dbottom) {
  for (int64_t i = 0; i < size; ++i) {
    const T d = dy[i], first = top[2 * i], second = top[2 * i + 1], third = bottom[2 * i], fourth = bottom[2 * i + 1];
    const T most1 = first > kLowest<T> ? first : kLowest<T>, most2 = second > most1 ? second : most1;
    const T most3 = third > most2 ? third : most2;
    const T last = fourth > most3 ? d : T(0), rest = fourth > most3 ? T(0) : d;  // of the fourth, of the first three
    const T before = third > most2 ? T(0) : rest;
    dtop[2 * i] = second > most1 ? T(0) : before;
    dtop[2 * i + 1] = second > most1 ? before : T(0);
    dbottom[2 * i] = third > most2 ? rest : T(0);
    dbottom[2 * i + 1] = last;
  }
}

template <typename T>
void planes_of_squares_backward(const PoolSizes& sizes, const T* dy, const T* x, T* dx) {
  const int64_t width = sizes.width, covered = 2 * sizes.out_width;
  parallel_for<Schedule::kStatic>(threads_of(sizes), sizes.rows, [=](int64_t plane, int) {
    const T* from = x + plane * sizes.height * width;
    const T* d = dy + plane * sizes.out_height * sizes.out_width;
    T* to = dx + plane * sizes.height * width;
    for (int64_t y = 0; y < sizes.out_height; ++y, from += 2 * width, to += 2 * width, d += sizes.out_width) {
      pool_squares_backward(d, from, from + width, sizes.out_width, to, to + width);
      std::fill(to + covered, to + width, T(0));
      std::fill(to + width + covered, to + 2 * width, T(0));
    }
    std::fill_n(to, (sizes.height - 2 * sizes.out_height) * width, T(0));
  });
}

}  // namespace

template <typename T>
void max_pool_planes(const PoolSizes& sizes, const T* x, T* y) {
  if (are_squares(sizes)) {
    parallel_for<Schedule::kStatic>(threads_of(sizes), sizes.rows, [=](int64_t plane, int) {
      const T* from = x + plane * sizes.height * sizes.width;
      T* to = y + plane * sizes.out_height * sizes.out_width;
      for (int64_t row = 0; row < sizes.out_height; ++row, from += 2 * sizes.width, to += sizes.out_width) {
        pool_squares(from, from + sizes.width, sizes.out_width, to);
      }
    });
    return;
  }
  with_stride(sizes.stride_w, [=](auto stride) {
    parallel_for<Schedule::kStatic>(threads_of(sizes), sizes.rows, [=](int64_t plane, int) {
      const T* from = x + plane * sizes.height * sizes.width;
      T* to = y + plane * sizes.out_height * sizes.out_width;
      for_each_strip_of(sizes, [&](const PoolStrip& strip) {
        T most[kWindows];
        std::fill_n(most, kWindows, kLowest<T>);
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
  if (are_squares(sizes)) return planes_of_squares_backward(sizes, dy, x, dx);
  with_stride(sizes.stride_w, [=](auto stride) {
    parallel_for<Schedule::kStatic>(threads_of(sizes), sizes.rows, [=](int64_t plane, int) {
      const T* from = x + plane * sizes.height * sizes.width;
      const T* d = dy + plane * sizes.out_height * sizes.out_width;
      T* to = dx + plane * sizes.height * sizes.width;
      std::fill_n(to, sizes.height * sizes.width, T(0));
      for_each_strip_of(sizes, [&](const PoolStrip& strip) {
        // Loops with numbers side by side, and loops with strides: the compiler vectorises each by itself.
        T most[kWindows], values[kWindows];
        TapOf<T> taken[kWindows];
        std::fill_n(most, kWindows, kLowest<T>);
        std::fill_n(taken, kWindows, TapOf<T>(-1));
        for_each_tap(sizes, strip, [&](int64_t tap, int64_t begin, int64_t end, int64_t place) {
          for (int64_t i = begin; i < end; ++i) values[i] = from[place + i * stride];
          for (int64_t i = begin; i < end; ++i) {  // the first one takes it at least
            taken[i] = (values[i] > most[i]) | (taken[i] < 0) ? static_cast<TapOf<T>>(tap) : taken[i];
          }
          for (int64_t i = begin; i < end; ++i) most[i] = values[i] > most[i] ? values[i] : most[i];
        });
        for_each_tap(sizes, strip, [&](int64_t tap, int64_t begin, int64_t end, int64_t place) {
          for (int64_t i = begin; i < end; ++i) {
            const T each = d[i];  // a load under the condition would make it an unpredictable branch
            values[i] = taken[i] == static_cast<TapOf<T>>(tap) ? each : T(0);
          }
          for (int64_t i = begin; i < end; ++i) to[place + i * stride] += values[i];
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
