// A deployed net: read from a file, then run any number of times, by several threads at once.
#ifndef GLUON_BNN_INFERENCE_MODEL_H_
#define GLUON_BNN_INFERENCE_MODEL_H_

#include <optional>

#include "inference/model_file.h"
#include "inference/plan.h"

namespace gluon_bnn {

class Model {
 public:
  // Throws a Failure unless the file is that of a net which runs without further checks.
  explicit Model(const FileBytes& bytes);

  int64_t inputs() const { return net_.nodes.front()->value.size(); }
  int64_t outputs() const { return net_.nodes.back()->value.size(); }
  bool takes_u8() const { return net_.nodes.front()->takes_pixels(); }

  // y (rows, outputs) of x (rows, inputs), which is float, or uint8 if the net takes it.
  void run(const float* x, int64_t rows, float* y) const { run(floats_, x, sizeof(float), rows, y, nullptr); }
  void run(const uint8_t* x, int64_t rows, float* y) const { run(*pixels_, x, 1, rows, y, nullptr); }

  // The index of the largest output of each row: the first of equal ones, and the first NaN where there is one.
  void predict(const float* x, int64_t rows, int64_t* classes) const {
    run(floats_, x, sizeof(float), rows, nullptr, classes);
  }
  void predict(const uint8_t* x, int64_t rows, int64_t* classes) const { run(*pixels_, x, 1, rows, nullptr, classes); }

 private:
  explicit Model(ModelFile&& file);
  void run(const Plan& plan, const void* x, int64_t element, int64_t rows, float* y, int64_t* classes) const;

  Nodes net_;
  Scratch<char> memory_;  // of the tensors
  Plan floats_;
  std::optional<Plan> pixels_;
};

}  // namespace gluon_bnn

#endif  // GLUON_BNN_INFERENCE_MODEL_H_
