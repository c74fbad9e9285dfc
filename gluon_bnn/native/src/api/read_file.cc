#include "api/read_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "error.h"

namespace gluon_bnn {
namespace {

std::FILE* open_regular(const char* path, int64_t* size) {
  // Without O_NONBLOCK opening a FIFO waits for a writer.
  const int descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (descriptor < 0) return nullptr;
  struct stat status;
  std::FILE* file = nullptr;
  if (fstat(descriptor, &status) == 0) {
    *size = status.st_size;
    if (S_ISREG(status.st_mode)) {
      file = fdopen(descriptor, "rb");
    } else {
      errno = S_ISDIR(status.st_mode) ? EISDIR : EINVAL;
    }
  }
  if (file == nullptr) {
    const int error = errno;
    close(descriptor);
    errno = error;
  }
  return file;
}

}  // namespace

RegularFile::RegularFile(const char* path) : file_(open_regular(path, &size_)) {
  if (file_ == nullptr) no_file("%.200s cannot be read: %s", path, std::strerror(errno));
}

FileBytes RegularFile::bytes() {
  return {size_, [this](void* to, int64_t count) {
            if (std::fread(to, 1, count, file_.get()) == static_cast<size_t>(count)) return;
            if (std::ferror(file_.get())) no_file("the file cannot be read: %s", std::strerror(errno));
            bad_file("it became shorter while it was read");
          }};
}

}  // namespace gluon_bnn
