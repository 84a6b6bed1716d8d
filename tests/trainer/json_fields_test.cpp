#include "trainer/json_fields.h"

#include <gmock/gmock.h>

#include "kernels/error.h"
#include "tests/temporary_folder.h"

namespace minichilla::json_fields_test {
namespace {

using testing::HasSubstr;

/// `depth` lists inside each other.
std::string deep_list(std::size_t depth) {
  return std::string(depth, '[') + std::string(depth, ']');
}

TEST(JsonFields, WholeNumbersAreFromZeroToTheLargestSigned) {
  const auto read = [](const std::string& number) {
    return json_whole(parse_json_object("{\"n\": " + number + "}", "file"), "n", "file");
  };
  EXPECT_EQ(read("0"), 0);
  EXPECT_EQ(read("9223372036854775807"), std::numeric_limits<std::int64_t>::max());
  for (const char* number : {"9223372036854775808", "18446744073709551615", "-1", "1.0", "1e30"}) {
    EXPECT_THAT(message_of<InputError>([&] { read(number); }), HasSubstr("expected a whole number from 0"));
  }
}

TEST(JsonFields, FiniteNumbersAreNotNull) {
  const nlohmann::json json = parse_json_object(R"({"a": null, "b": 1.5})", "file");
  EXPECT_EQ(json_finite(json, "b", "file"), 1.5);
  EXPECT_EQ(message_of<InputError>([&] { json_finite(json, "a", "file"); }),
            "file: a: found null, expected a finite number");
}

TEST(JsonFields, NumbersBeyondADoubleAreNoJson) {
  EXPECT_THAT(message_of<InputError>([] { parse_json_object(R"({"a": 1e999})", "file"); }),
              HasSubstr("not JSON"));
}

TEST(JsonFields, MessagesShowScalarsInOneLineAndNameTheRest) {
  const auto found = [](const std::string& value) {
    const nlohmann::json json = parse_json_object("{\"a\": " + value + "}", "file");
    return message_of<InputError>([&] { json_number(json, "a", "file"); });
  };
  EXPECT_EQ(found("\"x\x7f\""), "file: a: found \"x\\x7f\", expected a number");
  EXPECT_LT(found('"' + std::string(10000, 'x') + '"').size(), 200u);
  EXPECT_EQ(found(deep_list(100000)), "file: a: found an array of 1, expected a number");
}

}  // namespace
}  // namespace minichilla::json_fields_test
