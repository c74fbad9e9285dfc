// Products of packed panels, dy^T x, in the tiles of the micro-kernel: what the ways to a convolution's weight gradient
// share. Results do not depend on the number of threads.
#ifndef GLUON_BNN_TRAINING_PANELS_H_
#define GLUON_BNN_TRAINING_PANELS_H_

#include "kernels/table.h"
#include "parallel.h"

namespace gluon_bnn {

// `products` products, each of dy (rows, units) and x (rows, inputs). A panel is a column of tiles of one of them: its
// rows are next to each other.
class Panels {
 public:
  // For at most `length` rows at a time.
  Panels(int64_t products, int64_t units, int64_t inputs, int64_t length);

  // The numbers of all panels that a row has.
  static int64_t row_size(int64_t units, int64_t inputs);

  int64_t unit_tiles() const { return unit_tiles_; }
  int64_t input_tiles() const { return input_tiles_; }
  float* dy(int64_t product, int64_t tile, int64_t row) const {
    return numbers_[0] + (product * unit_tiles_ + tile) * dy_size_ + row * kernels().dw_units;
  }
  float* x(int64_t product, int64_t tile, int64_t row) const {
    return numbers_[0] + products_ * unit_tiles_ * dy_size_ + (product * input_tiles_ + tile) * x_size_ +
           row * kernels().dw_inputs;
  }

  // Adds the products of the first `rows` rows to g (products, units, stride), where units and stride are at least
  // whole tiles.
  void add_products(int threads, int64_t rows, int64_t stride, float* g) const;

 private:
  int64_t products_, unit_tiles_, input_tiles_, dy_size_, x_size_;
  Scratch<float> numbers_;
};

}  // namespace gluon_bnn

#endif  // GLUON_BNN_TRAINING_PANELS_H_
