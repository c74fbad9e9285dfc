#include "inference/model.h"

#include <algorithm>

#include "error.h"
#include "inference/kinds/kinds.h"
#include "inference/texts.h"

namespace gluon_bnn {
namespace {

// Most words of a row of all values but the input together: a bound of a net's memory and time.
constexpr int64_t kMostWords = INT64_C(1) << 30;
// Most rows that pass through all nodes before the next rows, and most bytes of scratch memory for more than one row.
constexpr int64_t kRows = 256;
constexpr int64_t kScratch = INT64_C(1) << 28;

std::unique_ptr<Node> make_node(const std::string& kind, size_t index, Parts& parts) {
  if ((kind == kKinds[0].name) != (index == 0)) bad_file("the first node, and no other, must be the input");
  std::string names;
  for (const Kind& each : kKinds) {
    if (kind == each.name) return each.make(parts);
    names += std::string(names.empty() ? "" : ", ") + each.name;
  }
  bad_file("node %zu must be of a kind of %s; got %s", index, names.c_str(), shown(kind).c_str());
}

Nodes make_nodes(ModelFile& file) {
  Nodes net;
  int64_t words = 0;
  std::vector<bool> used(file.nodes.size(), false);
  for (size_t index = 0; index < file.nodes.size(); ++index) {
    NodeText& text = file.nodes[index];
    std::vector<Value> taken;
    for (const int64_t source : text.sources) {
      if (source >= static_cast<int64_t>(index)) {
        bad_file("node %zu, %s: sources must be nodes before this one, got %lld", index, shown(text.kind).c_str(),
                 static_cast<Long>(source));
      }
      taken.push_back(net.nodes[source]->value);
      used[source] = true;
    }
    Parts parts(index, text, taken, file.tensors);
    net.nodes.push_back(make_node(text.kind, index, parts));
    parts.end();
    net.sources.push_back(std::move(text.sources));
    words += index == 0 ? 0 : net.nodes[index]->value.words();
    if (words > kMostWords) {
      bad_file("all values of a row must have together at most %lld words, node %zu is past",
               static_cast<Long>(kMostWords), index);
    }
  }
  for (size_t index = 0; index + 1 < used.size(); ++index) {
    if (!used[index]) bad_file("node %zu must be used by a later node, and is by none", index);
  }
  for (const Tensor& tensor : file.tensors) {
    if (!tensor.taken) bad_file("tensor %s is not allowed: no node has it", shown(tensor.name).c_str());
  }
  const Value& output = net.nodes.back()->value;
  if (output.form != Form::kFloat || output.shape.size() != 1) {
    bad_file("the last node must give a row of floats");
  }
  if (file.labels != 0 && file.labels != output.size()) {
    bad_file("labels must be as many as the net's outputs, %lld, got %lld", static_cast<Long>(output.size()),
             static_cast<Long>(file.labels));
  }
  const Node& input = *net.nodes.front();
  if (file.is_format1 && input.takes_pixels() && !input.value.pixels) {
    bad_file("in format 1 input.scale must be float32 (1,) and above 0");
  }
  return net;
}

// NumPy's argmax.
int64_t first_largest(const float* values, int64_t size) {
  int64_t best = 0;
  for (int64_t i = 0; i < size; ++i) {
    if (values[i] != values[i]) return i;
    if (values[i] > values[best]) best = i;
  }
  return best;
}

}  // namespace

Model::Model(const FileBytes& bytes) : Model(read_model_file(bytes)) {}

Model::Model(ModelFile&& file) : net_(make_nodes(file)), memory_(std::move(file.memory)), floats_(net_, false) {
  if (takes_u8()) pixels_.emplace(net_, true);
}

void Model::run(const Plan& plan, const void* x, int64_t element, int64_t rows, float* y, int64_t* classes) const {
  // The outputs that predict needs lie in the scratch memory, too.
  const int64_t row_bytes = plan.row_bytes + (classes == nullptr ? 0 : whole_lines(4 * outputs()));
  const int64_t most = std::min({rows, kRows, std::max<int64_t>(1, kScratch / std::max<int64_t>(1, row_bytes))});
  const Scratch<char> scratch(1, row_bytes * most);
  for (int64_t row = 0; row < rows; row += most) {
    const int64_t size = std::min(most, rows - row);
    const char* in = static_cast<const char*>(x) + row * inputs() * element;
    float* out =
        classes == nullptr ? y + row * outputs() : reinterpret_cast<float*>(scratch[0] + plan.row_bytes * most);
    const auto at = [&](const Place& place) -> void* {
      if (place.where == Place::kInput) return const_cast<char*>(in);
      return place.where == Place::kOutput ? static_cast<void*>(out) : scratch[0] + place.offset * most;
    };
    for (const Step& step : plan.steps) {
      const void* from[kMostSources];
      for (size_t i = 0; i < step.from.size(); ++i) from[i] = at(step.from[i]);
      step.node->run(size, step.pixels, from, at(step.to));
    }
    for (int64_t r = 0; classes != nullptr && r < size; ++r) {
      classes[row + r] = first_largest(out + r * outputs(), outputs());
    }
  }
}

}  // namespace gluon_bnn
