// What the kinds of node with 1-bit weights share: their weights, and what follows the product.
#ifndef GLUON_BNN_INFERENCE_SIGN_WEIGHTS_H_
#define GLUON_BNN_INFERENCE_SIGN_WEIGHTS_H_

#include <optional>

#include "gemm/gemm.h"
#include "inference/kind.h"

namespace gluon_bnn {

// Where a node writes its value.
inline Result result_at(void* y, Form form) {
  if (form == Form::kFloat) return {static_cast<float*>(y), nullptr};
  return {nullptr, static_cast<uint32_t*>(y)};
}

struct SignWeights {
  const uint32_t* bits;
  const int32_t* threshold = nullptr;  // from bits to bits, else the epilogue
  Epilogue epilogue;

  // Takes the arrays of a node. A unit has `runs` runs of `size` inputs; each run begins in a word of its own.
  SignWeights(Parts& parts, Form from, Form to, int64_t units, int64_t runs, int64_t size);

  // The epilogue with the arrays alpha_u8 and bias_u8, which must be there.
  Epilogue take_u8(Parts& parts, int64_t units) const;
};

}  // namespace gluon_bnn

#endif  // GLUON_BNN_INFERENCE_SIGN_WEIGHTS_H_
