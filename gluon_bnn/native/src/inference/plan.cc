#include "inference/plan.h"

#include <map>

#include "parallel.h"

namespace gluon_bnn {
namespace {

// Buffers of the scratch memory, by number.
class Buffers {
 public:
  // One of at least this size that is free: the smallest that is large enough, else the largest, which then grows.
  size_t take(int64_t bytes) {
    if (free_.empty()) {
      sizes_.push_back(bytes);
      return sizes_.size() - 1;
    }
    auto found = free_.lower_bound(bytes);
    if (found == free_.end()) --found;
    const size_t buffer = found->second;
    free_.erase(found);
    if (sizes_[buffer] < bytes) sizes_[buffer] = bytes;
    return buffer;
  }

  void give_back(size_t buffer) { free_.emplace(sizes_[buffer], buffer); }

  // Where each buffer begins, one after the other, and where the last ends.
  std::vector<int64_t> offsets() const {
    std::vector<int64_t> offsets = {0};
    for (const int64_t size : sizes_) offsets.push_back(offsets.back() + whole_lines(size));
    return offsets;
  }

 private:
  std::vector<int64_t> sizes_;
  std::multimap<int64_t, size_t> free_;
};

// A slot is a value in one of its two forms: slot 2 n is the value of node n, slot 2 n + 1 the same as uint8. Which
// slots are wanted is found from the output back to the input. A view has no memory of its own: its root is the slot,
// among its sources, whose memory it shares.
class Slots {
 public:
  Slots(const Nodes& net, bool u8) : net_(net), u8_(u8), input_(u8 ? 1 : 0), slots_(2 * net.nodes.size()) {
    last_ = slots_.size() - 2;
    slots_[last_].wanted = true;
    for (size_t slot = slots_.size(); slot-- > 0;) {
      if (!slots_[slot].wanted) continue;
      for (const size_t source : sources(slot)) slots_[source].wanted = true;
    }
    for (size_t slot = 0; slot < slots_.size(); ++slot) {
      // A view of the input is copied where it is the output.
      const bool is_view = slot != input_ && node(slot).is_view();
      const size_t source = is_view ? slots_[sources(slot)[0]].root : slot;
      slots_[slot].root = slot == last_ && source == input_ ? slot : source;
    }
  }

  const Node& node(size_t slot) const { return *net_.nodes[slot / 2]; }
  size_t input() const { return input_; }
  size_t output() const { return root(last_); }
  size_t size() const { return slots_.size(); }
  // The slot whose memory this slot has.
  size_t root(size_t slot) const { return slots_[slot].root; }
  // Whether a step computes it.
  bool is_step(size_t slot) const { return slots_[slot].wanted && slot != input_ && root(slot) == slot; }
  bool takes_pixels(size_t slot) const { return slot % 2 == 1 || (u8_ && node(slot).takes_pixels()); }

  // The slots that the node of `slot` takes. Where the input is uint8, its floats are computed from it, so their source
  // is the input.
  std::vector<size_t> sources(size_t slot) const {
    if (slot == input_) return {};
    if (slot / 2 == 0) return {input_};
    std::vector<size_t> slots;
    for (const int64_t source : net_.sources[slot / 2]) {
      slots.push_back(2 * static_cast<size_t>(source) + (takes_pixels(slot) ? 1 : 0));
    }
    return slots;
  }

  int64_t bytes(size_t slot) const { return slot % 2 == 1 ? node(slot).value.size() : 4 * node(slot).value.words(); }

 private:
  struct Slot {
    bool wanted = false;
    size_t root = 0;
  };
  const Nodes& net_;
  bool u8_;
  size_t input_, last_ = 0;
  std::vector<Slot> slots_;
};

}  // namespace

Plan::Plan(const Nodes& net, bool u8) {
  const Slots slots(net, u8);
  std::vector<size_t> last_taker(slots.size(), 0), buffer(slots.size(), 0);
  for (size_t slot = 0; slot < slots.size(); ++slot) {
    if (!slots.is_step(slot)) continue;
    for (const size_t source : slots.sources(slot)) last_taker[slots.root(source)] = slot;
  }
  Buffers buffers;
  const auto in_scratch = [&](size_t root) { return root != slots.input() && root != slots.output(); };
  for (size_t slot = 0; slot < slots.size(); ++slot) {
    if (!slots.is_step(slot)) continue;
    if (in_scratch(slot)) buffer[slot] = buffers.take(slots.bytes(slot));
    for (const size_t source : slots.sources(slot)) {
      const size_t root = slots.root(source);
      if (!in_scratch(root) || last_taker[root] != slot) continue;
      buffers.give_back(buffer[root]);
      last_taker[root] = slots.size();  // a node may take a value twice
    }
  }
  const std::vector<int64_t> offsets = buffers.offsets();
  row_bytes = offsets.back();
  const auto place = [&](size_t slot) -> Place {
    const size_t root = slots.root(slot);
    if (root == slots.input()) return {Place::kInput, 0};
    if (root == slots.output()) return {Place::kOutput, 0};
    return {Place::kScratch, offsets[buffer[root]]};
  };
  for (size_t slot = 0; slot < slots.size(); ++slot) {
    if (!slots.is_step(slot)) continue;
    Step step = {&slots.node(slot), slots.takes_pixels(slot), {}, place(slot)};
    for (const size_t source : slots.sources(slot)) step.from.push_back(place(source));
    steps.push_back(std::move(step));
  }
}

}  // namespace gluon_bnn
