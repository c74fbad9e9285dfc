#include "training/sign.h"

#include <cmath>

#include "parallel.h"

namespace gluon_bnn {

template <typename T>
void sign(const T* x, int64_t size, T* y) {
  for_each_part<Schedule::kStatic>(1, size, [=](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) y[i] = x[i] < 0 ? T(-1) : T(1);
  });
}

template <typename T>
void sign_backward(bool masked, T clip, const T* dy, const T* x, int64_t size, T* dx) {
  for_each_part<Schedule::kStatic>(1, size, [=](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const T d = dy[i];  // a load under the condition would make it an unpredictable branch
      const bool passes = !masked | (std::fabs(x[i]) <= clip);
      dx[i] = passes ? d : T(0);
    }
  });
}

template void sign<float>(const float*, int64_t, float*);
template void sign<double>(const double*, int64_t, double*);
template void sign_backward<float>(bool, float, const float*, const float*, int64_t, float*);
template void sign_backward<double>(bool, double, const double*, const double*, int64_t, double*);

}  // namespace gluon_bnn
