// The page's parts; every text that is not ours is escaped.
#include "train/watch/html_report.h"

#include <cmath>
#include <string_view>

#include "base/file.h"
#include "metrics/svg_plot.h"

namespace pagoda::train {

namespace {

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

PlotCurve curve_of(const std::vector<Json>& entries, const std::string& key, const std::string& name) {
  PlotCurve curve{name, {}};
  for (const Json& entry : entries) {
    const Json* value = entry.find(key);
    if (value == nullptr || !value->is_number()) continue;
    curve.points.emplace_back(static_cast<double>(entry.get_int("step", 0, "log entry")), value->as_double(key));
  }
  return curve;
}

// eval_* other than times, rates and the loss: each gets a panel.
std::vector<std::string> metric_keys(const std::vector<Json>& entries) {
  std::vector<std::string> keys;
  for (const Json& entry : entries) {
    if (!entry.is_object()) continue;
    for (const JsonMember& member : entry.as_object("log entry")) {
      const std::string& key = member.key;
      const bool timing = key.find("_runtime") != std::string::npos || key.find("_per_second") != std::string::npos;
      if (!key.starts_with("eval_") || key == "eval_loss" || timing || !member.value.is_number()) continue;
      bool known = false;
      for (const std::string& one : keys) known = known || one == key;
      if (!known && keys.size() < 8) keys.push_back(key);
    }
  }
  return keys;
}

std::string curves(const std::string& title, const std::vector<Json>& entries) {
  std::vector<PlotPanel> panels;
  const auto add = [&](const std::string& name, std::vector<PlotCurve> lines) {
    std::vector<PlotCurve> kept;
    for (PlotCurve& line : lines) {
      if (!line.points.empty()) kept.push_back(std::move(line));
    }
    if (!kept.empty()) panels.push_back({name, "step", "", std::move(kept), {}, false});
  };
  add("Loss", {curve_of(entries, "loss", "training"), curve_of(entries, "eval_loss", "validation")});
  for (const std::string& key : metric_keys(entries)) add(key.substr(5), {curve_of(entries, key, key)});
  add("Learning rate", {curve_of(entries, "learning_rate", "learning rate")});
  add("Gradient norm", {curve_of(entries, "grad_norm", "gradient norm")});
  return panels.empty() ? "<p>Nothing was logged yet.</p>\n" : svg_plot(title, {}, panels);
}

std::string row(const std::string& key, const Json& value) {
  return "<tr><th>" + escaped(key) + "</th><td>" + escaped(value.is_string() ? value.as_string(key) : value.dump()) +
         "</td></tr>\n";
}

std::string table(const std::string& heading, const Json* object) {
  if (object == nullptr || !object->is_object() || object->size() == 0) return "";
  std::string out = "<h2>" + heading + "</h2>\n<table>\n";
  for (const JsonMember& member : object->as_object(heading)) out += row(member.key, member.value);
  return out + "</table>\n";
}

const Json* last_with(const std::vector<Json>& entries, const std::string& key) {
  const Json* found = nullptr;
  for (const Json& entry : entries) {
    if (entry.contains(key)) found = &entry;
  }
  return found;
}

constexpr const char* kHead =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<title>{title}</title>\n<style>\n"
    "body{font-family:sans-serif;max-width:800px;margin:2em auto;padding:0 1em;color:#222}\n"
    "table{border-collapse:collapse;font-size:14px}th{text-align:left;font-weight:normal;color:#555;padding:2px 1em 2px 0}\n"
    "td{font-family:monospace;word-break:break-word}svg{max-width:100%;height:auto}\n"
    "blockquote{white-space:pre-wrap;border-left:3px solid #0072b2;margin:1em 0;padding:.2em 1em;background:#f6f8fa}\n"
    "b{font-weight:bold}</style></head><body>\n";

}  // namespace

std::string html_report(const std::string& title, const Json& run, const std::vector<Json>& entries, bool ended,
                        const std::vector<std::pair<int64_t, std::vector<ReportSample>>>& samples) {
  std::string out = kHead;
  out.replace(out.find("{title}"), 7, escaped(title));
  out += "<h1>" + escaped(title) + "</h1>\n";
  int64_t step = run.get_int("global_step", 0, "run");
  for (const Json& entry : entries) step = std::max(step, entry.get_int("step", 0, "log entry"));
  out += "<p>" + std::string(ended ? "Finished" : "Running") + ": step " + std::to_string(step);
  const int64_t steps = run.get_int("max_steps", 0, "run"), parameters = run.get_int("num_parameters", 0, "run");
  if (steps > 0) out += " of " + std::to_string(steps);
  if (parameters > 0) out += "; " + std::to_string(parameters) + " trained parameters";
  out += ".</p>\n" + curves(title, entries);
  out += table("Last evaluation", last_with(entries, "eval_loss")) + table("Training", last_with(entries, "train_runtime"));
  if (!samples.empty()) {
    out += "<h2>Samples</h2>\n";
    for (const auto& [at, texts] : samples) {
      out += "<h3>Step " + std::to_string(at) + "</h3>\n";
      for (const ReportSample& one : texts) {
        out += "<blockquote><b>" + escaped(one.prompt) + "</b>" + escaped(one.text) + "</blockquote>\n";
      }
    }
  }
  return out + table("Arguments", run.find("arguments")) + "</body></html>\n";
}

HtmlReportCallback::HtmlReportCallback(std::string path, std::string title, std::function<std::vector<ReportSample>()> samples)
    : path_(std::move(path)), title_(std::move(title)), make_samples_(std::move(samples)), run_(Json::object()) {}

void HtmlReportCallback::on_train_begin(const Json& run) {
  run_ = run;
  const Json* history = run.find("log_history");
  if (history != nullptr && history->is_array()) entries_ = history->as_array("log_history");
  write();
}

void HtmlReportCallback::on_evaluate(const Json& entry) {
  entries_.push_back(entry);
  take_samples(entry.get_int("step", 0, "log entry"));
  write();
}

void HtmlReportCallback::on_save(const std::string&) { write(); }

void HtmlReportCallback::on_train_end(const std::string&, const Json& state) {
  take_samples(state.get_int("global_step", 0, "state"));
  ended_ = true;
  write();
}

void HtmlReportCallback::take_samples(int64_t step) {
  if (!make_samples_ || (!sampled_.empty() && sampled_.back().step == step)) return;
  sampled_.push_back({step, make_samples_()});
  constexpr size_t kShown = 6;  // the first ones, and the last
  if (sampled_.size() > kShown) sampled_.erase(sampled_.begin() + kShown / 2);
}

void HtmlReportCallback::write() const {
  std::vector<std::pair<int64_t, std::vector<ReportSample>>> samples;
  for (const Sampled& one : sampled_) samples.emplace_back(one.step, one.samples);
  write_file_atomic(path_, html_report(title_, run_, entries_, ended_, samples));
}

}  // namespace pagoda::train
