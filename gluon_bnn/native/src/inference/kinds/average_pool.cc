// The mean of each window of an image.
#include "inference/kinds/kinds.h"
#include "inference/kinds/window_parts.h"

namespace gluon_bnn {
namespace {

class AveragePool final : public Node {
 public:
  explicit AveragePool(Parts& parts) {
    const Value x = parts.float_source();
    sizes_ = take_pool(parts, x);
    count_padding_ = parts.word("count", {"all", "inside"}) == 0;
    value.shape = {sizes_.out_height, sizes_.out_width, x.channels()};
  }

  void run(int64_t rows, bool, const void* const* xs, void* y) const override {
    PoolSizes sizes = sizes_;
    sizes.rows = rows;
    average_pool(sizes, count_padding_, static_cast<const float*>(xs[0]), static_cast<float*>(y));
  }

 private:
  PoolSizes sizes_;
  bool count_padding_;
};

}  // namespace

std::unique_ptr<Node> kinds::average_pool(Parts& parts) { return std::make_unique<AveragePool>(parts); }

}  // namespace gluon_bnn
