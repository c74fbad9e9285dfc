// The kinds of node that a file can have, the input first. A new one has its own file here, which defines
// gluon_bnn::kinds::<name>, and a line in this list.
#ifndef GLUON_BNN_INFERENCE_KINDS_KINDS_H_
#define GLUON_BNN_INFERENCE_KINDS_KINDS_H_

#include "inference/kind.h"

#define GLUON_BNN_KINDS(KIND) \
  KIND(input)                 \
  KIND(binary_dense)          \
  KIND(dense)                 \
  KIND(batch_norm)            \
  KIND(activation)            \
  KIND(pack)                  \
  KIND(flatten)               \
  KIND(image)                 \
  KIND(arithmetic)            \
  KIND(concat)                \
  KIND(slice)                 \
  KIND(binary_conv2d)         \
  KIND(conv2d)                \
  KIND(max_pool)              \
  KIND(average_pool)

namespace gluon_bnn {

using NewNode = std::unique_ptr<Node> (*)(Parts& parts);

namespace kinds {

#define GLUON_BNN_DECLARE(name) std::unique_ptr<Node> name(Parts& parts);
GLUON_BNN_KINDS(GLUON_BNN_DECLARE)
#undef GLUON_BNN_DECLARE

}  // namespace kinds

struct Kind {
  const char* name;
  NewNode make;
};

#define GLUON_BNN_ENTRY(name) {#name, kinds::name},
inline const Kind kKinds[] = {GLUON_BNN_KINDS(GLUON_BNN_ENTRY)};
#undef GLUON_BNN_ENTRY

}  // namespace gluon_bnn

#endif  // GLUON_BNN_INFERENCE_KINDS_KINDS_H_
