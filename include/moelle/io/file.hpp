// moelle/io/file.hpp -- files by descriptor: bounded reads, and writes that either happen completely or not at all.
//
// Files are read with read(), never mapped: a file that shrinks under a mapping is a bus error or silent zeros.
#pragma once
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <moelle/core/error.hpp>
#include <moelle/io/checksum.hpp>
#include <moelle/io/suggest.hpp>

namespace moelle::io {

[[noreturn]] [[gnu::cold]] inline void file_error(const std::string& what, const std::string& path, int error) {
  moelle::detail::fail("file", what + "; got path=" + in_quotes(path, 300) + " error=" + std::strerror(error));
}

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& o) noexcept : fd_(std::exchange(o.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& o) noexcept {
    std::swap(fd_, o.fd_);
    return *this;
  }
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

// A regular file open for reading; its size is taken once.
class InputFile {
 public:
  InputFile() = default;
  // `directory` a descriptor that a relative path starts from. O_NONBLOCK: opening a pipe must not wait for a writer.
  static InputFile open(const std::string& path, int directory = AT_FDCWD, int extra_flags = 0) {
    MOELLE_REQUIRE("file", path.find('\0') == std::string::npos, "path must not contain NUL; got path=" + in_quotes(path));
    InputFile f;
    f.path_ = path;
    f.fd_ = Descriptor(::openat(directory, path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | extra_flags));
    if (f.fd_.get() < 0) file_error("file must be readable", path, errno);
    struct stat s {};
    if (::fstat(f.fd_.get(), &s) != 0) file_error("file must be readable", path, errno);
    MOELLE_REQUIRE("file", S_ISREG(s.st_mode), "path must name a regular file; got path=" + in_quotes(path, 300));
    f.size_ = static_cast<std::uint64_t>(s.st_size);
    return f;
  }

  const std::string& path() const { return path_; }
  std::uint64_t size() const { return size_; }

  // Exactly `n` bytes at `offset`; Error if the file has become shorter since it was opened.
  void read(void* to, std::uint64_t offset, std::size_t n) const {
    auto* p = static_cast<std::byte*>(to);
    while (n > 0) {
      const ssize_t got = ::pread(fd_.get(), p, std::min(n, std::size_t{1} << 30), static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) file_error("file must be readable", path_, errno);
      MOELLE_REQUIRE("file", got > 0, str("file must stay as long as it was; got its end at byte ", offset, " path=", in_quotes(path_, 300)));
      p += got;
      offset += static_cast<std::uint64_t>(got);
      n -= static_cast<std::size_t>(got);
    }
  }

  std::string read_all(std::uint64_t limit) const {
    MOELLE_REQUIRE("file", size_ <= limit, str("file must be at most ", limit, " bytes; got bytes=", size_, " path=", in_quotes(path_, 300)));
    std::string s(static_cast<std::size_t>(size_), '\0');
    read(s.data(), 0, s.size());
    return s;
  }

  std::uint64_t checksum() const {
    Xxh64 h;
    std::string chunk(std::size_t{1} << 20, '\0');
    for (std::uint64_t at = 0; at < size_; at += chunk.size()) {
      const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(chunk.size(), size_ - at));
      read(chunk.data(), at, n);
      h.update(chunk.data(), n);
    }
    return h.digest();
  }

 private:
  Descriptor fd_;
  std::string path_;
  std::uint64_t size_ = 0;
};

inline std::string parent_directory(const std::string& path) {
  const auto slash = path.find_last_of('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

// Makes the names in a directory durable; without it a rename may be lost with the power.
inline void sync_directory(const std::string& path) {
  const Descriptor d(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (d.get() < 0 || ::fsync(d.get()) != 0) file_error("directory must be written to disk", path, errno);
}

// Writes a file under a temporary name in the same directory; commit() makes it durable and gives it its name in one step.
// Destroyed without commit(), it leaves nothing behind. A full disk or a failed fsync is an Error, never retried as success.
class OutputFile {
 public:
  explicit OutputFile(std::string path) : path_(std::move(path)) {
    static std::atomic<unsigned> counter{0};
    MOELLE_REQUIRE("file", !path_.empty() && path_.back() != '/' && path_.find('\0') == std::string::npos,
                   "path must name a file; got path=" + in_quotes(path_, 300));
    temporary_ = path_ + ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(counter++);
    fd_ = Descriptor(::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (fd_.get() < 0) file_error("file must be writable", path_, errno);
  }
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  ~OutputFile() {
    if (!committed_) ::unlink(temporary_.c_str());
  }

  void write(const void* data, std::size_t n) {
    hash_.update(data, n);
    size_ += n;
    auto* p = static_cast<const std::byte*>(data);
    while (n > 0) {
      const ssize_t put = ::write(fd_.get(), p, std::min(n, std::size_t{1} << 30));
      if (put < 0 && errno == EINTR) continue;
      if (put <= 0) file_error("file must be writable", path_, put < 0 ? errno : ENOSPC);
      p += put;
      n -= static_cast<std::size_t>(put);
    }
  }
  void write(std::string_view s) { write(s.data(), s.size()); }

  void commit() {
    if (::fsync(fd_.get()) != 0) file_error("file must be written to disk", path_, errno);
    if (::close(fd_.release()) != 0) file_error("file must be written to disk", path_, errno);
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) file_error("file must be renamed into place", path_, errno);
    committed_ = true;
    sync_directory(parent_directory(path_));
  }

  std::uint64_t size() const { return size_; }          // of what was written so far
  std::uint64_t checksum() const { return hash_.digest(); }

 private:
  std::string path_, temporary_;
  Descriptor fd_;
  Xxh64 hash_;
  std::uint64_t size_ = 0;
  bool committed_ = false;
};

// A reader of `path` sees the old content or the new one, whenever the process or the machine stops.
inline void atomic_write_file(const std::string& path, std::string_view content) {
  OutputFile f(path);
  f.write(content);
  f.commit();
}

inline std::string read_file(const std::string& path, std::uint64_t limit = std::uint64_t{64} << 20) {
  return InputFile::open(path).read_all(limit);
}

}  // namespace moelle::io
