// Which kernels run: chosen once, when they are first asked for, from what the processor and the operating
// system both support; GLUON_BNN_ISA or gluon_bnn_use() chooses another.
#include <atomic>
#include <cstdlib>
#include <cstring>

#include "error.h"
#include "gluon_bnn.h"
#include "kernels/table.h"

// Whether the machine has a feature: asks the processor (cpuid) and whether the system saves the registers (xgetbv).
#if defined(__x86_64__) || defined(__i386__)
#define GLUON_BNN_HAS(feature) (__builtin_cpu_supports(feature) != 0)
#else
#define GLUON_BNN_HAS(feature) false
#endif
#define GLUON_BNN_HAS_AVX512 \
  (GLUON_BNN_HAS("avx512f") && GLUON_BNN_HAS("avx512bw") && GLUON_BNN_HAS("avx512dq") && GLUON_BNN_HAS("avx512vl"))

// From the slowest to the fastest, with what the machine must have. A new one has its own file here, which defines
// gluon_bnn::<name>_kernels, null where the build has no such kernels and called only where the machine has it all, and
// a line in this list.
#define GLUON_BNN_INSTRUCTION_SETS(SET)                    \
  SET(serial, true)                                        \
  SET(neon, true)                                          \
  SET(avx2, GLUON_BNN_HAS("avx2") && GLUON_BNN_HAS("fma")) \
  SET(avx512, GLUON_BNN_HAS_AVX512)                        \
  SET(avx512vpopcntdq, GLUON_BNN_HAS("avx512vpopcntdq") && GLUON_BNN_HAS("avx512vnni") && GLUON_BNN_HAS_AVX512)

namespace gluon_bnn {

#define GLUON_BNN_DECLARE(name, supported) const Kernels* name##_kernels();
GLUON_BNN_INSTRUCTION_SETS(GLUON_BNN_DECLARE)
#undef GLUON_BNN_DECLARE

namespace {

#define GLUON_BNN_ONE(name, supported) +1
#define GLUON_BNN_NAME(name, supported) " " #name
#define GLUON_BNN_ADD(name, supported) \
  if (supported) add(name##_kernels());

// What this machine has, and the names, separated by spaces. Found when the library is loaded, and without memory of
// its own: nothing here throws, or waits for another thread.
struct Available {
  const Kernels* tables[GLUON_BNN_INSTRUCTION_SETS(GLUON_BNN_ONE)];
  int count = 0;
  char names[sizeof(GLUON_BNN_INSTRUCTION_SETS(GLUON_BNN_NAME))] = "";

  Available() { GLUON_BNN_INSTRUCTION_SETS(GLUON_BNN_ADD) }

  void add(const Kernels* table) {
    if (table == nullptr) return;
    if (count > 0) std::strcat(names, " ");
    std::strcat(names, table->name);
    tables[count++] = table;
  }

  const Kernels* named(const char* name) const {
    for (int i = 0; i < count; ++i) {
      if (std::strcmp(tables[i]->name, name) == 0) return tables[i];
    }
    return nullptr;
  }
};

const Available available;

std::atomic<const Kernels*> chosen{nullptr};

// The first call's choice. A name that this machine does not have is refused by library.py; here it means: choose for
// me.
const Kernels* choose() {
  const char* name = std::getenv("GLUON_BNN_ISA");
  const Kernels* table = name == nullptr ? nullptr : available.named(name);
  if (table == nullptr) table = available.tables[available.count - 1];
  const Kernels* none = nullptr;
  return chosen.compare_exchange_strong(none, table) ? table : none;
}

}  // namespace

const Kernels& kernels() {
  const Kernels* table = chosen.load(std::memory_order_relaxed);
  return table != nullptr ? *table : *choose();
}

}  // namespace gluon_bnn

extern "C" {

int gluon_bnn_abi(void) { return GLUON_BNN_ABI; }

const char* gluon_bnn_instruction_set(void) { return gluon_bnn::kernels().name; }

const char* gluon_bnn_instruction_sets(void) { return gluon_bnn::available.names; }

int gluon_bnn_use(const char* instruction_set) {
  const gluon_bnn::Kernels* table = instruction_set == nullptr ? nullptr : gluon_bnn::available.named(instruction_set);
  if (table == nullptr) {
    return gluon_bnn::fail("the instruction set must be one of %s, got %s", gluon_bnn::available.names,
                           instruction_set == nullptr ? "null" : instruction_set);
  }
  gluon_bnn::chosen.store(table, std::memory_order_relaxed);
  return GLUON_BNN_OK;
}

}  // extern "C"
