#include "model/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <random>

#include "kernels/error.h"
#include "tests/model/safetensors_bytes.h"

namespace minichilla::safetensors_test {
namespace {

/// A file with this header and so many bytes of data.
std::vector<char> file_with(const std::string& header, std::size_t data_bytes) {
  std::vector<char> bytes(8 + header.size() + data_bytes);
  const std::uint64_t length = header.size();
  std::memcpy(bytes.data(), &length, 8);
  std::copy(header.begin(), header.end(), bytes.begin() + 8);
  return bytes;
}

/// The header, padded so that data are aligned.
std::vector<char> aligned_file(std::string header, std::size_t data_bytes) {
  header.resize((header.size() + 7) / 8 * 8, ' ');
  return file_with(header, data_bytes);
}

std::string refusal(const std::vector<char>& bytes) {
  try {
    parse_safetensors(bytes, "a.safetensors");
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(),
                testing::AllOf(testing::StartsWith("a.safetensors: "), testing::HasSubstr("found"),
                               testing::HasSubstr("expected"), testing::Not(testing::HasSubstr("\n"))));
    EXPECT_LT(std::strlen(error.what()), 500u);
    return error.what();
  }
  return "no error";
}

std::string tensor(const std::string& name, const std::string& dtype, const std::string& shape,
                   const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets +
         "}";
}

TEST(Safetensors, ReadsBackWhatItWrote) {
  const std::vector<float> a = {1.5f, -0.0f, std::numeric_limits<float>::infinity(), 1e-45f, 3, 4}, b = {7};
  const std::vector<NamedTensor> tensors = {
      {"weights", {2, 3}, a}, {"scalar", {}, b}, {"empty", {0, 5}, {}}, {"näme \"x\"\n", {1}, b}};
  const std::map<std::string, std::string> metadata = {{"format", "minichilla"}, {"note", "a\n\"b\" é"}};
  const std::string text = safetensors_bytes(tensors, metadata);
  const std::vector<char> bytes(text.begin(), text.end());
  const SafetensorsFile file = parse_safetensors(bytes, "a.safetensors");
  EXPECT_EQ(file.metadata, metadata);
  ASSERT_EQ(file.tensors.size(), tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ(file.tensors[i].name, tensors[i].name);
    EXPECT_EQ(file.tensors[i].shape, tensors[i].shape);
    ASSERT_EQ(file.tensors[i].values.size(), tensors[i].values.size());
    if (tensors[i].values.empty()) continue;  // memcmp wants no null pointers
    if (tensors[i].values.empty()) continue;
    EXPECT_EQ(
        std::memcmp(file.tensors[i].values.data(), tensors[i].values.data(), tensors[i].values.size_bytes()),
        0);
  }
}

// The layout that other programs read: little-endian length, JSON, spaces, data.
TEST(Safetensors, WritesTheFormat) {
  const std::vector<float> values = {1, 2};
  const std::string bytes = safetensors_bytes(std::vector<NamedTensor>{{"a", {2}, values}}, {{"k", "v"}});
  const std::string header =
      R"({"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  const std::size_t padded = (header.size() + 7) / 8 * 8;
  ASSERT_EQ(bytes.size(), 8 + padded + 8);
  EXPECT_EQ(static_cast<unsigned char>(bytes[0]), padded);
  EXPECT_EQ(bytes.substr(1, 7), std::string(7, '\0'));
  EXPECT_EQ(bytes.substr(8, padded), header + std::string(padded - header.size(), ' '));
  EXPECT_EQ(bytes.substr(8 + padded), std::string("\0\0\x80\x3f\0\0\0\x40", 8));
}

TEST(Safetensors, WritesAndReadsFilesWithoutTensors) {
  const std::string text = safetensors_bytes({}, {});
  const std::vector<char> bytes(text.begin(), text.end());
  EXPECT_TRUE(parse_safetensors(bytes, "a.safetensors").tensors.empty());
}

TEST(Safetensors, RefusesToWriteWhatCannotBeRead) {
  const auto write = [](const std::vector<NamedShape>& tensors) {
    return safetensors_beginning(tensors, {});
  };
  EXPECT_THROW(write({{"a", {2}}, {"a", {2}}}), std::logic_error);
  EXPECT_THROW(write({{"__metadata__", {2}}}), std::logic_error);
  EXPECT_THROW(write({{"a", {std::int64_t{1} << 62, 4}}}), std::logic_error);
}

TEST(Safetensors, ReadsTensorsThatAreListedOutOfOrder) {
  std::vector<char> bytes = aligned_file(
      "{" + tensor("b", "F32", "[1]", "[4,8]") + "," + tensor("a", "F32", "[1]", "[0,4]") + "}", 8);
  const float values[] = {1, 2};
  std::memcpy(bytes.data() + bytes.size() - 8, values, 8);
  const SafetensorsFile file = parse_safetensors(bytes, "a.safetensors");
  EXPECT_EQ(file.tensors[0].values[0], 2);
  EXPECT_EQ(file.tensors[1].values[0], 1);
}

TEST(Safetensors, RefusesForgedLengths) {
  EXPECT_THAT(refusal({}), testing::HasSubstr("found 0 bytes"));
  EXPECT_THAT(refusal(std::vector<char>(7)), testing::HasSubstr("found 7 bytes"));
  EXPECT_THAT(refusal(std::vector<char>(8)), testing::HasSubstr("no JSON"));
  EXPECT_THAT(refusal(std::vector<char>(8, '\xff')),
              testing::HasSubstr("header of 18446744073709551615 bytes"));
  std::vector<char> bytes = aligned_file("{}", 0);
  bytes[0] = static_cast<char>(bytes[0] + 1);
  EXPECT_THAT(refusal(bytes), testing::HasSubstr("a header of 9 bytes in a file of 16"));
}

TEST(Safetensors, RefusesHeadersThatAreNone) {
  const char* headers[] = {
      "",
      "{",
      "[]",
      "null",
      "5",
      "\"a\"",
      "true",
      "{} {}",
      "{}x",
      "{\"a\"}",
      "{\"a\":5}",
      "{\"a\":[]}",
      "{\"a\":null}",
      "{\"a\":{}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}",
      "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}",
      "{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}",
      "{\"a\":{\"dtype\":5,\"shape\":[1],\"data_offsets\":[0,4]}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[\"1\"],\"data_offsets\":[0,4]}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[[1]],\"data_offsets\":[0,4]}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[{}],\"data_offsets\":[0,4]}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[9223372036854775808],\"data_offsets\":[0,4]}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[]}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,1e1]}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,99999999999999999999]}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":\"0,4\"}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"extra\":1}}",
      "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"shape\":[1],\"data_offsets\":[0,4]}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"data_offsets\":[0,4]}}",
      "{\"__metadata__\":[]}",
      "{\"__metadata__\":{\"a\":1}}",
      "{\"__metadata__\":{\"a\":{}}}",
      "{\"__metadata__\":{\"a\":\"b\",\"a\":\"c\"}}",
      "{\"__metadata__\":{},\"__metadata__\":{}}",
      "{\"\xff\":{}}",
      "{\"a\nb\":{}}",
  };
  for (const char* header : headers) EXPECT_NE(refusal(aligned_file(header, 4)), "no error") << header;
  const std::string one = tensor("a", "F32", "[1]", "[0,4]");
  EXPECT_THAT(refusal(aligned_file("{" + one + "," + one + "}", 4)), testing::HasSubstr("a second time"));
}

TEST(Safetensors, RefusesRangesThatDoNotFit) {
  const auto one = [](const std::string& dtype, const std::string& shape, const std::string& offsets,
                      std::size_t data_bytes) {
    return refusal(aligned_file("{" + tensor("a", dtype, shape, offsets) + "}", data_bytes));
  };
  EXPECT_EQ(one("F32", "[1]", "[0,4]", 4), "no error");
  EXPECT_EQ(one("BF16", "[2]", "[0,4]", 4), "a.safetensors: tensor 'a': found dtype 'BF16', expected 'F32'");
  EXPECT_EQ(one("F32", "[2]", "[0,4]", 4),
            "a.safetensors: tensor 'a': found bytes 0 to 4, expected 8 bytes for shape [2]");
  EXPECT_THAT(one("F32", "[2]", "[0,8]", 4),
              testing::HasSubstr("expected a range inside the 4 bytes of data"));
  EXPECT_THAT(one("F32", "[1]", "[4,0]", 4),
              testing::HasSubstr("expected a range inside the 4 bytes of data"));
  EXPECT_THAT(one("F32", "[1]", "[18446744073709551612,0]", 4),
              testing::HasSubstr("expected a range inside"));
  EXPECT_THAT(one("F32", "[1]", "[2,6]", 8), testing::HasSubstr("expected a start that is a multiple of 4"));
  EXPECT_THAT(one("F32", "[1]", "[0,4]", 8), testing::HasSubstr("found 8 bytes of data, expected 4"));
  EXPECT_THAT(one("F32", "[1]", "[4,8]", 8), testing::HasSubstr("expected a start at byte 0"));
  EXPECT_THAT(one("F32", "[4611686018427387904,4]", "[0,0]", 0),
              testing::HasSubstr("a shape that fits in memory"));
  EXPECT_THAT(one("F32", "[4294967296,4294967296]", "[0,0]", 0),
              testing::HasSubstr("a shape that fits in memory"));
  EXPECT_EQ(one("F32", "[4611686018427387904,0]", "[0,0]", 0), "no error");
  EXPECT_THAT(refusal(aligned_file("{}", 4)), testing::HasSubstr("found 4 bytes of data, expected 0"));
  EXPECT_THAT(refusal(file_with("{" + tensor("ab", "F32", "[1]", "[0,4]") + "}  ", 4)),
              testing::HasSubstr("so that data are aligned"));
}

TEST(Safetensors, RefusesOverlapsAndHoles) {
  const auto two = [](const std::string& first, const std::string& second) {
    return refusal(aligned_file(
        "{" + tensor("a", "F32", "[2]", first) + "," + tensor("b", "F32", "[2]", second) + "}", 16));
  };
  EXPECT_EQ(two("[0,8]", "[8,16]"), "no error");
  EXPECT_EQ(two("[8,16]", "[0,8]"), "no error");
  EXPECT_THAT(two("[0,8]", "[4,12]"),
              testing::HasSubstr("tensor 'b': found bytes 4 to 12, expected a start at byte 8"));
  EXPECT_THAT(two("[0,8]", "[0,8]"), testing::HasSubstr("no overlap"));
  EXPECT_THAT(two("[4,12]", "[8,16]"), testing::HasSubstr("expected a start at byte 0"));
}

// A header of brackets alone must neither exhaust the stack nor memory.
TEST(Safetensors, RefusesDeepNestingAtOnce) {
  const std::string brackets(1 << 20, '['), deep = "{\"a\":{\"dtype\":\"F32\",\"shape\":" + brackets;
  EXPECT_NE(refusal(aligned_file(brackets, 0)), "no error");
  EXPECT_NE(refusal(aligned_file(deep, 0)), "no error");
  std::string objects;
  for (int i = 0; i < 100000; ++i) objects += "{\"a\":";
  EXPECT_NE(refusal(aligned_file(objects, 0)), "no error");
  std::string dimensions = "1";
  for (int i = 0; i < 100000; ++i) dimensions += ",1";
  EXPECT_THAT(refusal(aligned_file("{" + tensor("a", "F32", "[" + dimensions + "]", "[0,4]") + "}", 4)),
              testing::HasSubstr("at most 32 whole numbers"));
}

/// Whether the tensors of an accepted file lie in it.
void expect_inside(const SafetensorsFile& file, const std::vector<char>& bytes) {
  for (const NamedTensor& tensor : file.tensors) {
    if (tensor.values.empty()) continue;
    const char* const begin = reinterpret_cast<const char*>(tensor.values.data());
    EXPECT_GE(begin, bytes.data());
    EXPECT_LE(begin + tensor.values.size_bytes(), bytes.data() + bytes.size());
  }
}

TEST(Safetensors, DamagedFilesAreRefusedOrHarmless) {
  const std::vector<float> a(24, 1.0f), b(5, 2.0f);
  const std::string text =
      safetensors_bytes(std::vector<NamedTensor>{{"first", {4, 6}, a}, {"second", {5}, b}}, {{"step", "12"}});
  const std::vector<char> whole(text.begin(), text.end());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_NE(refusal(std::vector<char>(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size))),
              "no error");
  }
  std::mt19937 engine(1);
  for (int trial = 0; trial < 20000; ++trial) {
    std::vector<char> damaged = whole;
    for (int changes = 1 + trial % 3; changes > 0; --changes) {
      damaged[engine() % (damaged.size() - 116)] = static_cast<char>(engine());
    }
    try {
      expect_inside(parse_safetensors(damaged, "a.safetensors"), damaged);
    } catch (const InputError&) {
    }
  }
}

}  // namespace
}  // namespace minichilla::safetensors_test
