// Batch norm for training as MXNet sees it: attributes, shapes, types and errors. No arithmetic here.
//
//   gluon_bnn_batch_norm(data, gamma, beta, running_mean, running_var, training, eps=, momentum=, axis=, inference=)
//                                                                 -> y, the batch's mean and 1 / sqrt(var + eps)
//
// axis: that of the units, -1 (the last) or 1 (the channels of images).
// MXNet does not tell an extension whether it trains: `training`, one number, does. It is the attribute `inference`
// while MXNet does not train (0 where that is not given, as in exports of version 0.1). While it trains the running
// averages are changed in place; otherwise they are used, and the last two outputs are zeros.
#include "training/batch_norm.h"

#include "mxnet/operator.h"

namespace {

using namespace gluon_bnn::mxnet;

class BatchNorm {
 public:
  explicit BatchNorm(const Attributes& attributes)
      : eps_(number_of<double>(attributes, "eps")),
        momentum_(number_of<double>(attributes, "momentum")),
        last_(choice_of<bool>(attributes, "axis", "-1", {{"-1", true}, {"1", false}})),
        inference_(number_of<float>("inference", attributes.get("inference", "0"))) {}

  int inputs() const { return 6; }
  int outputs() const { return 3; }
  std::vector<int> mutated() const { return {3, 4}; }

  void infer_type(Types in, Types out) const {
    expect_type("batch_norm", in, 5, kFloat32);
    out[0] = out[1] = out[2] = one_float_type("batch_norm", {in.begin(), 5});
  }

  void infer_shape(Shapes* in, Shapes* out) const {
    const Shape &data = (*in)[0], &gamma = (*in)[1];
    expect_rows("batch_norm", data);
    const int64_t units = last_ ? data.back() : data[1];
    if (!gamma.empty() && gamma.back() != kUnknown && units != kUnknown && gamma.back() != units) {
      refuse("batch_norm of ", gamma.back(), " units takes ",
             last_ ? "rows of as many numbers, got " : "images of as many channels, got ", units);
    }
    for (int i = 1; i < 5; ++i) expect_numbers("each parameter of batch_norm", units, &(*in)[i]);
    expect_numbers("the input that tells batch_norm whether it trains", 1, &(*in)[5]);
    (*out)[0] = data;
    (*out)[1] = (*out)[2] = {units};
  }

  void forward(const Tensors& in, const Tensors& out) const {
    const Tensor& data = in[0];
    const gluon_bnn::BatchNormSizes sizes = sizes_of(data);
    by_type(data, [&](auto zero) {
      using T = decltype(zero);
      const T *x = data.data<T>(), *gamma = in[1].data<T>(), *beta = in[2].data<T>();
      T *running_mean = in[3].data<T>(), *running_var = in[4].data<T>(), *y = out[0].data<T>();
      T *mean = out[1].data<T>(), *inverse = out[2].data<T>();
      if (is_training(in[5])) {
        gluon_bnn::batch_norm_train<T>(x, gamma, beta, sizes, eps_, momentum_, running_mean, running_var, mean, inverse,
                                       y);
      } else {
        gluon_bnn::batch_norm_infer<T>(x, gamma, beta, running_mean, running_var, sizes, eps_, y);
        set_to_zero(out[1]);
        set_to_zero(out[2]);
      }
    });
  }

  void backward(const Tensors& in, const Tensors& out) const {
    const Tensor& data = in[3];
    const gluon_bnn::BatchNormSizes sizes = sizes_of(data);
    by_type(data, [&](auto zero) {
      using T = decltype(zero);
      const T *dy = in[0].data<T>(), *x = data.data<T>(), *gamma = in[4].data<T>();
      T *dx = out[0].data<T>(), *dgamma = out[1].data<T>(), *dbeta = out[2].data<T>();
      if (is_training(in[8])) {
        gluon_bnn::batch_norm_train_backward<T>(dy, x, gamma, in[10].data<T>(), in[11].data<T>(), sizes, dx, dgamma,
                                                dbeta);
      } else {
        gluon_bnn::batch_norm_infer_backward<T>(dy, x, gamma, in[6].data<T>(), in[7].data<T>(), sizes, eps_, dx, dgamma,
                                                dbeta);
      }
    });
    for (int i = 3; i < 6; ++i) set_to_zero(out[i]);
  }

 private:
  gluon_bnn::BatchNormSizes sizes_of(const Tensor& data) const {
    const int64_t units = last_ ? data.shape.back() : data.shape[1];
    if (last_) return {rows_of(data, units), units, 1};
    return {data.shape[0], units, data.size() / (data.shape[0] * units)};
  }

  bool is_training(const Tensor& training) const { return training.data<float>()[0] != inference_; }

  double eps_, momentum_;
  bool last_;
  float inference_;
};

}  // namespace

namespace gluon_bnn {
namespace mxnet {

const Operator kBatchNorm = describe<BatchNorm>("gluon_bnn_batch_norm");

}  // namespace mxnet
}  // namespace gluon_bnn
