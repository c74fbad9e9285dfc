// Sums, products and the like of deployed nets, element by element, and batch norm; activations.h has the functions of
// one number. Results have the bits of graph/engine.py's in NumPy.
#ifndef GLUON_BNN_GEMM_ELEMENTWISE_H_
#define GLUON_BNN_GEMM_ELEMENTWISE_H_

#include <cstdint>

namespace gluon_bnn {

// The second operand of an operation on rows: one number, one row for all, or a row for each.
enum class Operand { kNumber, kRow, kRows };

struct ArithmeticFunction {
  const char* name;
  // y = x function z, all (rows, size) but for z, which is an operand.
  void (*run)(const float* x, const float* z, Operand operand, int64_t rows, int64_t size, float* y);
};

constexpr int kArithmeticFunctions = 6;
extern const ArithmeticFunction arithmetic_functions[kArithmeticFunctions];

// y = (x - mean) factor + beta, rounded after each step, over rows of `size` units. y must not be x.
void normalise(const float* x, const float* mean, const float* factor, const float* beta, int64_t rows, int64_t size,
               float* y);

// x = scale p + shift over rows of `size` pixels p. scale holds one number where `one_scale`, else `size` of them.
void scale_pixels(const uint8_t* p, const float* scale, bool one_scale, const float* shift, int64_t rows, int64_t size,
                  float* x);

}  // namespace gluon_bnn

#endif  // GLUON_BNN_GEMM_ELEMENTWISE_H_
