// The wire format of Event, Summary and TensorProto, as far as scalars and texts need it.
#include "formats/tfevents.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "formats/tfrecord.h"

namespace pagoda {

namespace {

void append_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7F) | 0x80);
  out += static_cast<char>(value);
}

void append_key(std::string& out, int number, int wire) {
  append_varint(out, static_cast<uint64_t>(number) << 3 | static_cast<uint64_t>(wire));
}

void append_int(std::string& out, int number, int64_t value) {
  append_key(out, number, 0);
  append_varint(out, static_cast<uint64_t>(value));
}

template <class Number>
void append_fixed(std::string& out, int number, Number value) {
  append_key(out, number, sizeof(Number) == 8 ? 1 : 5);
  char bytes[sizeof(Number)];
  std::memcpy(bytes, &value, sizeof(Number));  // little-endian, as every machine that this runs on
  out.append(bytes, sizeof(Number));
}

void append_bytes(std::string& out, int number, std::string_view bytes) {
  append_key(out, number, 2);
  append_varint(out, bytes.size());
  out += bytes;
}

std::string event_at(int64_t step) {
  const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  std::string event;
  append_fixed(event, 1, now);
  if (step != 0) append_int(event, 2, step);
  return event;
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') return "localhost";
  return name.data();
}

}  // namespace

TfEventsWriter::TfEventsWriter(const std::string& folder) {
  make_directories(folder);
  const auto seconds =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  // A number, as two writers of one process may begin in the same second.
  for (int number = 0; fd_ < 0; ++number) {
    path_ = join_path(folder, "events.out.tfevents." + std::to_string(seconds) + "." + host_name() + "." +
                                  std::to_string(::getpid()) + "." + std::to_string(number));
    fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
    if (fd_ < 0 && errno != EEXIST) fail_errno(path_, "cannot create", errno);
  }
  std::string event = event_at(0);
  append_bytes(event, 3, "brain.Event:2");
  write(event);
}

TfEventsWriter::~TfEventsWriter() { ::close(fd_); }

void TfEventsWriter::write(const std::string& event) {
  std::string record;
  append_tfrecord(record, event);
  for (size_t done = 0; done < record.size();) {
    const ssize_t put = ::write(fd_, record.data() + done, record.size() - done);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) fail_errno(path_, "cannot write", errno);
    done += static_cast<size_t>(put);
  }
}

void TfEventsWriter::restart_at(int64_t step) {
  std::string event = event_at(step), session;
  append_int(session, 1, 1);  // SessionLog.START
  append_bytes(event, 7, session);
  write(event);
}

void TfEventsWriter::scalars(int64_t step, const std::vector<std::pair<std::string, double>>& values) {
  std::string summary;
  for (const auto& [tag, number] : values) {
    std::string value;
    append_bytes(value, 1, tag);
    append_fixed(value, 2, static_cast<float>(number));
    append_bytes(summary, 1, value);
  }
  std::string event = event_at(step);
  append_bytes(event, 5, summary);
  write(event);
}

void TfEventsWriter::text(int64_t step, std::string_view tag, std::string_view markdown) {
  std::string plugin, metadata, dimension, shape, tensor, value, summary;
  append_bytes(plugin, 1, "text");
  append_bytes(metadata, 1, plugin);
  append_int(dimension, 1, 1);
  append_bytes(shape, 2, dimension);
  append_int(tensor, 1, 7);  // DT_STRING
  append_bytes(tensor, 2, shape);
  append_bytes(tensor, 8, markdown);
  append_bytes(value, 1, tag);
  append_bytes(value, 9, metadata);
  append_bytes(value, 8, tensor);
  append_bytes(summary, 1, value);
  std::string event = event_at(step);
  append_bytes(event, 5, summary);
  write(event);
}

}  // namespace pagoda
