// The order in which the nodes of a net run, and where their values lie: a buffer is reused once the last node that
// takes its value has run.
#ifndef GLUON_BNN_INFERENCE_PLAN_H_
#define GLUON_BNN_INFERENCE_PLAN_H_

#include <memory>
#include <vector>

#include "inference/kind.h"

namespace gluon_bnn {

struct Nodes {
  std::vector<std::unique_ptr<Node>> nodes;   // the first is the input, the last gives the output
  std::vector<std::vector<int64_t>> sources;  // of each node
};

// Where a value lies: in an array of the caller's, or in the scratch buffer. There it begins at byte n * offset, where
// n is the most rows of a block.
struct Place {
  enum { kInput, kOutput, kScratch } where;
  int64_t offset;
};

struct Step {
  const Node* node;
  bool pixels;  // its source is uint8
  std::vector<Place> from;
  Place to;
};

struct Plan {
  std::vector<Step> steps;
  int64_t row_bytes;  // of the scratch buffer, for each row of a block: a multiple of 64

  // `u8`: the input is uint8. A value with pixels is then made as uint8, as floats, or as both, as its takers want it.
  Plan(const Nodes& net, bool u8);
};

}  // namespace gluon_bnn

#endif  // GLUON_BNN_INFERENCE_PLAN_H_
