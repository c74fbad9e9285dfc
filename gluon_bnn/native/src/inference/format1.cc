// Format 1, which is only read: a chain of layers, `kind inputs units from to [function]`. Layer i is node i + 1. It
// never gets another kind or function.
#include <algorithm>

#include "error.h"
#include "inference/model_file.h"
#include "inference/texts.h"

namespace gluon_bnn {
namespace {

using Words = std::vector<std::string_view>;
constexpr std::string_view kInput = "input ";
const Words kValueForms = {"float", "bits", "bits01"};
const Words kActivations = {"relu", "sigmoid", "tanh", "softrelu", "softsign", "sign", "binary_sigmoid"};

struct Layer {
  std::string_view kind, from, to, function;
  int64_t inputs, units;

  bool is(std::string_view name) const { return kind == name; }
};

bool is_in(const Words& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

Layer read_layer(std::string_view entry, size_t index) {
  const Words words = split(entry, " ");
  const bool complete = words.size() == 5 || (words.size() == 6 && !words[5].empty());
  const auto inputs = complete ? whole_number(words[1]) : std::nullopt;
  const auto units = complete ? whole_number(words[2]) : std::nullopt;
  if (!inputs || !units || *inputs < 1 || *units < 1 || !is_in(kValueForms, words[3]) ||
      !is_in(kValueForms, words[4]) || words[4] == "bits01") {
    bad_file("layer %zu must be \"<kind> <inputs> <units> <from> <to> [<function>]\", got \"%s\"", index,
             shown(entry).c_str());
  }
  return {words[0], words[3], words[4], words.size() == 6 ? words[5] : "", *inputs, *units};
}

// Whether the layer is one that format 1 has, and fits what stands before it, which gives `inputs` elements of the form
// `from`.
void check_layer(const Layer& layer, size_t index, int64_t inputs, std::string_view from) {
  const auto bad = [=](const char* what) {
    bad_file("layer %zu, %s %lld -> %lld, %s", index, shown(layer.kind).c_str(), static_cast<Long>(layer.inputs),
             static_cast<Long>(layer.units), what);
  };
  if (!is_in({"binary_dense", "dense", "batch_norm", "activation", "pack"}, layer.kind)) bad("is of an unknown kind");
  if (layer.inputs != inputs) bad("must have as many inputs as what stands before it gives");
  if (!layer.is("binary_dense") && !layer.is("dense") && layer.units != inputs) {
    bad("must have as many units as inputs");
  }
  if ((layer.from == "float") != (from == "float")) bad("must be from what stands before it gives");
  if (!layer.is("binary_dense") && (layer.from != "float" || layer.to != (layer.is("pack") ? "bits" : "float"))) {
    bad("must be from float, and to bits if it is a pack, else to float");
  }
  if (layer.is("activation") ? !is_in(kActivations, layer.function) : !layer.function.empty()) {
    bad("must have a function of format 1 if it is an activation, else none");
  }
}

}  // namespace

std::vector<NodeText> read_format1(const std::vector<std::string_view>& entries) {
  const bool has_input = entries[0].substr(0, kInput.size()) == kInput;
  const std::string_view sizes = entries[0].substr(std::min(kInput.size(), entries[0].size()));
  const auto shape = sizes_in(sizes);
  if (!has_input || !shape) {
    bad_file("its metadata must have the shape of an input in second place, like \"input 1x28x28\", got \"%s\"",
             shown(entries[0]).c_str());
  }
  std::vector<Layer> layers;
  for (size_t index = 0; index + 1 < entries.size(); ++index) layers.push_back(read_layer(entries[index + 1], index));
  std::vector<NodeText> nodes = {{"input", {}, {"shape=" + std::string(sizes)}, "input"}};
  int64_t inputs = 1;
  for (const int64_t size : *shape) inputs *= size;
  std::string_view from = "float";
  for (size_t index = 0; index < layers.size(); ++index) {
    const Layer& layer = layers[index];
    check_layer(layer, index, inputs, from);
    const bool bits01 = layer.to == "bits" && index + 1 < layers.size() && layers[index + 1].from == "bits01";
    NodeText node = {std::string(layer.kind), {static_cast<int64_t>(index)}, {}, std::to_string(index)};
    if (layer.is("binary_dense") || layer.is("dense"))
      node.attributes.push_back("units=" + std::to_string(layer.units));
    if (layer.is("binary_dense") || layer.is("pack")) {
      node.attributes.push_back("to=" + std::string(bits01 ? "bits01" : layer.to));
    }
    if (layer.is("activation")) node.attributes.push_back("function=" + std::string(layer.function));
    nodes.push_back(std::move(node));
    inputs = layer.units;
    from = layer.to;
  }
  return nodes;
}

}  // namespace gluon_bnn
