// Batches of many requests: full, cancelled, failed, ended.
#include "tests/server/encoder_fixture.h"

#include <atomic>
#include <cmath>
#include <future>
#include <thread>

namespace pagoda::server {
namespace {

class EncoderServiceTest : public ::testing::Test {
 protected:
  using Outputs = std::vector<SequenceOutput>;
  std::vector<SequenceInput> inputs(int count) const {
    return std::vector<SequenceInput>(static_cast<size_t>(count), model_->input_of(model_->encode("fox").encoding));
  }
  // Holds the service's thread until go_ has its value: what comes meanwhile waits.
  void hold(EncoderService& service) {
    ASSERT_TRUE(service.submit(inputs(1), [this](const Outputs&, const Error*) {
      begun_.set_value();
      go_.get_future().wait();
    }));
    begun_.get_future().wait();
  }
  // The number of outputs, or the error.
  static EncoderService::Done into(std::promise<std::string>& told) {
    return [&told](const Outputs& outputs, const Error* error) {
      told.set_value(error == nullptr ? std::to_string(outputs.size()) : error->message());
    };
  }
  std::shared_ptr<const SequenceModel> model_ = SequenceModel::open(kFixtures + "bert", one_thread(), {});
  std::promise<void> begun_, go_;
};

TEST_F(EncoderServiceTest, FullAndCancelled) {
  EncoderService service(model_, 1);
  hold(service);
  std::atomic<int> cancelled{0};
  const auto count = [&](const Outputs&, const Error*) { ++cancelled; };
  const auto waiting = service.submit(inputs(3), count);
  ASSERT_TRUE(waiting);
  EXPECT_EQ(service.num_open(), 1);
  EXPECT_EQ(service.stats().num_waiting, 1);
  EXPECT_FALSE(service.submit(inputs(1), count));
  service.cancel(*waiting);
  EXPECT_EQ(service.num_open(), 0);
  go_.set_value();
  std::promise<std::string> two, none;
  ASSERT_TRUE(service.submit(inputs(2), into(two)));
  EXPECT_EQ(two.get_future().get(), "2");
  ASSERT_TRUE(service.submit({}, into(none)));
  EXPECT_EQ(none.get_future().get(), "0");
  EXPECT_EQ(cancelled.load(), 0);
  EXPECT_TRUE(service.healthy());
}

TEST_F(EncoderServiceTest, WhatThrowsOnItsThreadEndsThatRequestAlone) {
  EncoderService service(model_, 10);
  std::promise<std::string> told, after;
  ASSERT_TRUE(service.submit(inputs(1), [&](const Outputs&, const Error* error) {
    if (error == nullptr) throw std::bad_alloc();
    told.set_value(error->message());
    throw std::bad_alloc();
  }));
  EXPECT_NE(told.get_future().get(), "");
  ASSERT_TRUE(service.submit(inputs(1), into(after)));
  EXPECT_EQ(after.get_future().get(), "1");
}

TEST_F(EncoderServiceTest, OneRequestsErrorIsNotItsNeighbours) {
  EncoderService service(model_, 10);
  hold(service);
  std::vector<SequenceInput> bad = inputs(2);
  bad[1].ids.assign(static_cast<size_t>(model_->model().max_positions() + 1), bad[0].ids[0]);
  bad[1].type_ids.assign(bad[1].ids.size(), 0);
  std::promise<std::string> first, wrong, last;
  ASSERT_TRUE(service.submit(inputs(2), into(first)));
  ASSERT_TRUE(service.submit(bad, into(wrong)));
  ASSERT_TRUE(service.submit(inputs(3), into(last)));
  go_.set_value();
  EXPECT_EQ(first.get_future().get(), "2");
  EXPECT_NE(wrong.get_future().get(), "2");
  EXPECT_EQ(last.get_future().get(), "3");
}

TEST(EncoderVectors, NotFiniteIsTheSequencesOwnError) {
  const std::string folder = cross_encoder();
  const auto sound = SequenceModel::open(folder, one_thread(), Head::kNone);
  const int32_t fox = sound->encode("fox").encoding.ids[1], other = sound->encode("b").encoding.ids[1];
  ASSERT_NE(fox, other);
  Runtime runtime;
  std::vector<std::pair<std::string, Tensor>> tensors;
  const std::shared_ptr<SafetensorsFile> file = SafetensorsFile::open(folder + "/model.safetensors");
  for (const TensorEntry& entry : file->tensors()) {
    Tensor tensor = Tensor::empty(runtime.device(), entry.dtype, entry.shape);
    std::memcpy(tensor.view().data, entry.data(), static_cast<size_t>(tensor.bytes()));
    if (entry.name.find("word_embeddings.weight") != std::string::npos) {
      ASSERT_EQ(entry.dtype, DType::kFloat32);
      tensor.data<float>()[fox * tensor.dim(1)] = std::nanf("");
    }
    tensors.emplace_back(entry.name, tensor);
  }
  write_safetensors(folder + "/model.safetensors", tensors);
  EncoderService service(SequenceModel::open(folder, one_thread(), Head::kNone), 10);
  for (int i = 0; i < 3; ++i) {
    std::promise<std::string> bad, good;
    for (const auto& [text, told] : {std::pair{"fox", &bad}, std::pair{"b", &good}}) {
      ASSERT_TRUE(
          service.submit({sentence_input(service.model(), text, SentenceOptions{{RowPooling::kMean}, false, false, ""})},
                         [told](const std::vector<SequenceOutput>&, const Error* error) {
                           told->set_value(error == nullptr ? "" : error->message());
                         }));
    }
    EXPECT_NE(bad.get_future().get().find("not finite"), std::string::npos);
    EXPECT_EQ(good.get_future().get(), "");
  }
  EXPECT_TRUE(service.healthy());
}

TEST_F(EncoderServiceTest, ShutdownEndsWhatIsOpen) {
  std::promise<std::string> told;
  std::thread release;
  {
    EncoderService service(model_, 4);
    hold(service);
    ASSERT_TRUE(service.submit(inputs(1), into(told)));
    release = std::thread([&] { go_.set_value(); });
  }
  release.join();
  // It is either computed in time or told so; never forgotten.
  const std::string message = told.get_future().get();
  EXPECT_TRUE(message == "1" || message.find("shutting down") != std::string::npos) << message;
}

}  // namespace
}  // namespace pagoda::server
