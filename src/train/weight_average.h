// The moving average of the weights that --ema-decay keeps: what is evaluated and published in their place.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "formats/safetensors.h"
#include "nn/module.h"

namespace pagoda::train {

class WeightAverage {
 public:
  // Begins at the parameters' values, float32; they must live on. decay 0: none is kept, and everything below does nothing.
  WeightAverage(const std::vector<Parameter*>& parameters, double decay);
  // average = decay * average + (1 - decay) * weight.
  void update();
  // ema.safetensors of a checkpoint, under the parameters' names. load: kInvalidInput where it is missing or of another shape.
  void save(const std::string& folder) const;
  void load(const std::string& folder);
  void check(const std::string& folder) const;  // what load() does before it takes anything

  // The average stands in the model's place while one lives.
  class InPlace {
   public:
    explicit InPlace(WeightAverage& average) : average_(average) { average_.swap(); }
    ~InPlace() { average_.swap(); }
    InPlace(const InPlace&) = delete;
    InPlace& operator=(const InPlace&) = delete;

   private:
    WeightAverage& average_;
  };

 private:
  std::shared_ptr<SafetensorsFile> open(const std::string& folder) const;
  void swap();
  double decay_;
  std::vector<Parameter*> parameters_;
  std::vector<Tensor> averages_;  // of parameters_; empty: none is kept
};

}  // namespace pagoda::train
