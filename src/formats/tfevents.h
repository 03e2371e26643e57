// Event files of TensorBoard: records of tensorflow.Event messages with scalars and texts, written as they come.
// (tensorflow/core/util/event.proto, framework/summary.proto, tensorboard/plugins/text)
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pagoda {

class TfEventsWriter {
 public:
  // Opens a new file "events.out.tfevents.<seconds>.<host>.<process>.<number>" in `folder`, which is made.
  explicit TfEventsWriter(const std::string& folder);
  ~TfEventsWriter();
  TfEventsWriter(const TfEventsWriter&) = delete;
  TfEventsWriter& operator=(const TfEventsWriter&) = delete;

  const std::string& path() const { return path_; }
  // TensorBoard drops what earlier files of the folder say of steps from `step` on: they are done again.
  void restart_at(int64_t step);
  // One event; whole in the file when the call returns. Throws kDevice (no space).
  void scalars(int64_t step, const std::vector<std::pair<std::string, double>>& values);
  void text(int64_t step, std::string_view tag, std::string_view markdown);

 private:
  void write(const std::string& event);
  std::string path_;
  int fd_ = -1;
};

}  // namespace pagoda
