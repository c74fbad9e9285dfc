// What the files that register operators with MXNet share.
#ifndef GLUON_BNN_MXNET_SIDE_H_
#define GLUON_BNN_MXNET_SIDE_H_

#include <limits>
#include <mutex>
#include <sstream>
#include <string>
#include <unordered_map>
#include <vector>

#include "mxnet/lib_api.h"

namespace gluon_bnn {
namespace mxnet_side {

using mxnet::ext::MX_FAIL;
using mxnet::ext::MX_SUCCESS;
using mxnet::ext::MXReturnValue;
using mxnet::ext::MXTensor;
using mxnet::ext::OpResource;
using Attributes = std::unordered_map<std::string, std::string>;
using Shape = std::vector<unsigned int>;

// How MXNet shows a dimension that is not known yet.
constexpr unsigned int kUnknown = std::numeric_limits<unsigned int>::max();

inline std::string get(const Attributes& attributes, const char* key, const char* missing) {
  const auto found = attributes.find(key);
  return found == attributes.end() ? missing : found->second;
}

template <typename... Parts>
MXReturnValue fail(const Parts&... parts) {
  // MXNet prints every message that was ever added, so the one there is is written anew.
  static std::mutex mutex;
  static std::stringstream& message = MX_ERROR_MSG;
  const std::lock_guard<std::mutex> lock(mutex);
  message.str("");
  (message << ... << parts);
  return MX_FAIL;
}

}  // namespace mxnet_side
}  // namespace gluon_bnn

#endif  // GLUON_BNN_MXNET_SIDE_H_
