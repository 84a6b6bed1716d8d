#include "kernels/error.h"

#include <gtest/gtest.h>

#include <vector>

namespace minichilla::error_test {
namespace {

const std::vector<std::string> kNames{"n_layers", "d_model", "n_heads", "d_head", "context_length"};

TEST(NearestName, FindsTheNameThatWasMeant) {
  EXPECT_EQ(nearest_name("n_layer", kNames), "n_layers");
  EXPECT_EQ(nearest_name("dmodel", kNames), "d_model");
  EXPECT_EQ(nearest_name("n_head", kNames), "n_heads");
  EXPECT_EQ(nearest_name("context_lenght", kNames), "context_length");
  EXPECT_EQ(nearest_name("d_model", kNames), "d_model");
}

TEST(NearestName, CountsSwappedNeighboursOnce) {
  EXPECT_EQ(nearest_name("trian", std::vector<std::string>{"model", "data", "train"}), "train");
  EXPECT_EQ(nearest_name("daat", std::vector<std::string>{"model", "data", "train"}), "data");
}

TEST(NearestName, IsSilentWhenNothingIsNear) {
  EXPECT_EQ(nearest_name("vocabulary", kNames), "");
  EXPECT_EQ(nearest_name("", kNames), "");
  EXPECT_EQ(nearest_name("x", kNames), "");
  EXPECT_EQ(nearest_name("d_model", {}), "");
}

TEST(NearestName, TakesTheNearestAndOfEquallyNearTheFirst) {
  EXPECT_EQ(nearest_name("abcdef", std::vector<std::string>{"abcxyf", "abcdxf"}), "abcdxf");
  EXPECT_EQ(nearest_name("abcd", std::vector<std::string>{"abcx", "abcy"}), "abcx");
}

TEST(NearestName, ToleratesUpToAThirdOfTheLongerName) {
  EXPECT_EQ(nearest_name("abcxyz", std::vector<std::string>{"abcdyy"}), "abcdyy");
  EXPECT_EQ(nearest_name("axyzef", std::vector<std::string>{"abcdef"}), "");
}

}  // namespace
}  // namespace minichilla::error_test
