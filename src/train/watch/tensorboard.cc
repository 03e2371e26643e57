// Entries of log_history as scalars.
#include "train/watch/tensorboard.h"

#include <unistd.h>

#include <array>
#include <ctime>

#include "base/file.h"

namespace pagoda::train {

namespace {

std::string tag_of(const std::string& key) {
  for (const std::string prefix : {"eval_", "test_"}) {
    if (key.rfind(prefix, 0) == 0) return prefix.substr(0, prefix.size() - 1) + "/" + key.substr(prefix.size());
  }
  return "train/" + key;
}

}  // namespace

void TensorBoardCallback::on_train_begin(const Json& run) {
  writer_ = std::make_unique<TfEventsWriter>(folder_);
  const int64_t step = run.get_int("global_step", 0, "trainer");
  if (step > 0) writer_->restart_at(step + 1);
  const Json* arguments = run.find("arguments");
  if (arguments != nullptr) {
    writer_->text(step, "args", "```\n" + arguments->pretty() + "\n```");
  }
}

void TensorBoardCallback::write(const Json& entry) {
  if (!writer_ || !entry.is_object()) return;
  std::vector<std::pair<std::string, double>> values;
  for (const JsonMember& member : entry.as_object("log entry")) {
    if (member.key == "step" || !member.value.is_number()) continue;
    values.emplace_back(tag_of(member.key), member.value.as_double(member.key));
  }
  writer_->scalars(entry.get_int("step", 0, "log entry"), values);
}

std::string default_logging_dir(const std::string& output_dir) {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  ::localtime_r(&now, &local);
  std::array<char, 64> stamp{};
  std::strftime(stamp.data(), stamp.size(), "%b%d_%H-%M-%S", &local);
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) host[0] = '\0';
  return join_path(join_path(output_dir, "runs"), std::string(stamp.data()) + "_" + host.data());
}

}  // namespace pagoda::train
