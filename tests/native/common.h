// What the tests in C++ share: one generator of numbers, and a run on every instruction set of the machine.
#ifndef GLUON_BNN_TESTS_COMMON_H_
#define GLUON_BNN_TESTS_COMMON_H_

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <sstream>
#include <string>

#include "gluon_bnn.h"

inline std::mt19937 generator;

// Uniform between -2 and 2: normal ones take most of a test's time where the processor is emulated.
inline float real() { return static_cast<float>(static_cast<int32_t>(generator())) * 0x1p-30f; }

[[noreturn]] inline void fail(const std::string& what) {
  std::printf("FAILED with %s: %s\n", gluon_bnn_instruction_set(), what.c_str());
  std::exit(1);
}

// run() on each of them, from the same numbers; their names.
template <typename Run>
std::string on_every_instruction_set(const Run& run) {
  const std::string names = gluon_bnn_instruction_sets();
  std::istringstream list(names);
  for (std::string name; list >> name;) {
    generator.seed(20161);
    if (gluon_bnn_use(name.c_str()) != GLUON_BNN_OK) fail("use: " + std::string(gluon_bnn_error()));
    if (name != gluon_bnn_instruction_set()) fail("use() did not use " + name);
    run();
  }
  return names;
}

#endif  // GLUON_BNN_TESTS_COMMON_H_
