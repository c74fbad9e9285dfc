// Batch norm of inference, over the last axis.
#include "gemm/elementwise.h"
#include "inference/kinds/kinds.h"

namespace gluon_bnn {
namespace {

class BatchNorm final : public Node {
 public:
  explicit BatchNorm(Parts& parts) {
    value.shape = parts.float_source().shape;
    mean_ = parts.floats("mean", {value.channels()});
    factor_ = parts.floats("factor", {value.channels()});
    beta_ = parts.floats("beta", {value.channels()});
  }

  void run(int64_t rows, bool, const void* const* xs, void* y) const override {
    normalise(static_cast<const float*>(xs[0]), mean_, factor_, beta_, rows * value.places(), value.channels(),
              static_cast<float*>(y));
  }

 private:
  const float *mean_, *factor_, *beta_;
};

}  // namespace

std::unique_ptr<Node> kinds::batch_norm(Parts& parts) { return std::make_unique<BatchNorm>(parts); }

}  // namespace gluon_bnn
