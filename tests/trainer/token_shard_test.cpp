#include "trainer/token_shard.h"

#include <gmock/gmock.h>

#include <numeric>

#include "kernels/error.h"
#include "tests/temporary_folder.h"

namespace minichilla::token_shard_test {
namespace {

using testing::HasSubstr;

std::string write_shard(const std::filesystem::path& path, const std::vector<std::int32_t>& ids,
                        int vocabulary) {
  ShardWriter writer(path, vocabulary);
  std::vector<char> stored;
  store_ids(ids, vocabulary, stored);
  writer.add(stored);
  return writer.close();
}

std::vector<std::int32_t> counting(std::int32_t count) {
  std::vector<std::int32_t> ids(static_cast<std::size_t>(count));
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

std::string open_error(const std::filesystem::path& path, int vocabulary) {
  return message_of<InputError>([&] { TokenShard(path, vocabulary); });
}

class TokenShardTest : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Vocabularies, TokenShardTest, testing::Values(2, 257, 65536, 65537, 1 << 20));

TEST_P(TokenShardTest, ReadsBackWhatWasWritten) {
  const TemporaryFolder folder;
  std::vector<std::int32_t> ids = {0, GetParam() - 1, 1, GetParam() / 2};
  const std::string sha256 = write_shard(folder / "a.bin", ids, GetParam());
  const TokenShard shard(folder / "a.bin", GetParam());
  EXPECT_EQ(shard.tokens(), 4);
  EXPECT_EQ(shard.recorded_sha256(), sha256);
  EXPECT_EQ(sha256_hex({shard.stored().data(), shard.stored().size()}), sha256);
  EXPECT_EQ(shard.stored().size(), 4u * (GetParam() <= 65536 ? 2 : 4));
  std::vector<std::int32_t> read(4);
  shard.read(0, 4, read.data());
  EXPECT_EQ(read, ids);
  shard.read(3, 1, read.data());
  EXPECT_EQ(read[0], ids[3]);
}

TEST(TokenShard, TheHeaderIsWhatTheDocumentationSays) {
  const TemporaryFolder folder;
  const std::string sha256 = write_shard(folder / "a.bin", {1, 2, 256}, 257);
  const std::string bytes = read_file(folder / "a.bin");
  ASSERT_EQ(bytes.size(), 128u + 6);
  EXPECT_EQ(bytes.substr(0, 8), "MCHTOKEN");
  EXPECT_EQ(bytes.substr(8, 32),
            std::string("\1\0\0\0\4\3\2\1\x80\0\0\0\2\0\0\0\3\0\0\0\0\0\0\0\1\1\0\0\0\0\0\0", 32));
  EXPECT_EQ(static_cast<unsigned char>(bytes[40]), std::stoi(sha256.substr(0, 2), nullptr, 16));
  EXPECT_EQ(static_cast<unsigned char>(bytes[71]), std::stoi(sha256.substr(62, 2), nullptr, 16));
  EXPECT_EQ(bytes.substr(72, 56), std::string(56, '\0'));
  EXPECT_EQ(bytes.substr(128), std::string("\1\0\2\0\0\1", 6));
}

TEST(TokenShard, RangesOutsideAreRefused) {
  const TemporaryFolder folder;
  write_shard(folder / "a.bin", counting(10), 257);
  const TokenShard shard(folder / "a.bin", 257);
  std::vector<std::int32_t> ids(16);
  EXPECT_THROW(shard.read(-1, 1, ids.data()), std::invalid_argument);
  EXPECT_THROW(shard.read(0, 11, ids.data()), std::invalid_argument);
  EXPECT_THROW(shard.read(10, 1, ids.data()), std::invalid_argument);
  EXPECT_THROW(shard.read(5, std::numeric_limits<std::int64_t>::max(), ids.data()), std::invalid_argument);
  EXPECT_NO_THROW(shard.read(10, 0, ids.data()));
}

TEST(TokenShard, ForgedFilesAreRefused) {
  const TemporaryFolder folder;
  write_shard(folder / "a.bin", counting(10), 257);
  const std::string good = read_file(folder / "a.bin");
  const auto error = [&](const std::string& content) {
    return open_error(folder.write("bad.bin", content), 257);
  };
  const auto changed = [&](std::size_t at, char to) {
    std::string bad = good;
    bad[at] = to;
    return bad;
  };
  EXPECT_THAT(error(""), HasSubstr("found 0 bytes"));
  EXPECT_THAT(error(good.substr(0, 127)), HasSubstr("found 127 bytes"));
  EXPECT_THAT(error(std::string(4096, '\0')), HasSubstr("another kind of file"));
  EXPECT_THAT(error(changed(0, 'X')), HasSubstr("another kind of file"));
  EXPECT_THAT(error(changed(8, 2)), HasSubstr("found version 2, expected 1"));
  EXPECT_THAT(error(changed(12, 1)), HasSubstr("endianness"));
  EXPECT_THAT(error(changed(16, 64)), HasSubstr("header bytes"));
  EXPECT_THAT(error(changed(20, 4)), HasSubstr("bytes per token"));
  EXPECT_THAT(error(changed(20, 0)), HasSubstr("bytes per token"));
  EXPECT_THAT(error(changed(24, 11)), HasSubstr("the file was cut or grew"));
  EXPECT_THAT(error(changed(31, '\x80')), HasSubstr("the file was cut or grew"));  // 2^63 tokens
  EXPECT_THAT(error(changed(32, 5)), HasSubstr("vocabulary"));
  EXPECT_THAT(error(good.substr(0, good.size() - 1)), HasSubstr("the file was cut or grew"));
  EXPECT_THAT(error(good + "x"), HasSubstr("the file was cut or grew"));
  EXPECT_THAT(error(good + "xx"), HasSubstr("the file was cut or grew"));
}

TEST(TokenShard, IdsOutsideTheVocabularyNeverComeOut) {
  const TemporaryFolder folder;
  write_shard(folder / "a.bin", counting(200), 257);
  std::string bytes = read_file(folder / "a.bin");
  bytes[128 + 2 * 100 + 1] = 1;  // id 100 becomes 356
  const TokenShard shard(folder.write("a.bin", bytes), 257);
  std::vector<std::int32_t> ids(200);
  EXPECT_NO_THROW(shard.read(0, 100, ids.data()));
  EXPECT_NO_THROW(shard.read(101, 99, ids.data()));
  EXPECT_THAT(message_of<InputError>([&] { shard.read(90, 20, ids.data()); }), HasSubstr("found id 356"));
}

TEST(ShardWriter, LeavesNoShardBehindUnlessClosed) {
  const TemporaryFolder folder;
  {
    ShardWriter writer(folder / "a.bin", 257);
    writer.add(std::string(1 << 21, 'x'));
    EXPECT_THAT(open_error(folder / "a.bin", 257), HasSubstr("unfinished"));
    EXPECT_TRUE(may_be_token_shard(folder / "a.bin"));
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "a.bin"));
}

TEST(ShardWriter, DoesNotDisturbThoseWhoHaveTheOldFileMapped) {
  const TemporaryFolder folder;
  write_shard(folder / "a.bin", {5, 6}, 257);
  const TokenShard before(folder / "a.bin", 257);
  write_shard(folder / "a.bin", {9}, 257);
  std::int32_t ids[2];
  before.read(0, 2, ids);
  EXPECT_EQ(ids[1], 6);
  EXPECT_EQ(TokenShard(folder / "a.bin", 257).tokens(), 1);
}

TEST(ShardWriter, NamesAFileThatCannotBeMade) {
  EXPECT_THAT(message_of<IoError>([] { ShardWriter("/nonexistent/folder/a.bin", 257); }),
              HasSubstr("/nonexistent/folder/a.bin"));
}

TEST(MayBeTokenShard, KnowsOtherProgramsFiles) {
  const TemporaryFolder folder;
  write_shard(folder / "a.bin", {1}, 257);
  EXPECT_TRUE(may_be_token_shard(folder / "a.bin"));
  EXPECT_TRUE(may_be_token_shard(folder.write("empty.bin", "")));
  EXPECT_FALSE(may_be_token_shard(folder.write("short.bin", "abc")));
  EXPECT_FALSE(may_be_token_shard(folder.write("long.bin", std::string(1000, 'a'))));
}

}  // namespace
}  // namespace minichilla::token_shard_test
