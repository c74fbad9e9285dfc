// A dense layer with float weights, over the last axis.
#include "gemm/gemm.h"
#include "inference/kinds/kinds.h"

namespace gluon_bnn {
namespace {

class Dense final : public Node {
 public:
  explicit Dense(Parts& parts) {
    const Value x = parts.float_source();
    const int64_t units = parts.number("units", 1);
    inputs_ = x.channels();
    value.shape = parts.shape_of(x, units);
    weight_ = parts.floats("weight", {inputs_, units});
    bias_ = parts.floats_if_any("bias", {units});
  }

  void run(int64_t rows, bool, const void* const* xs, void* y) const override {
    dense({rows * value.places(), value.channels(), inputs_}, static_cast<const float*>(xs[0]), weight_, bias_,
          static_cast<float*>(y));
  }

 private:
  int64_t inputs_;
  const float *weight_, *bias_;
};

}  // namespace

std::unique_ptr<Node> kinds::dense(Parts& parts) { return std::make_unique<Dense>(parts); }

}  // namespace gluon_bnn
