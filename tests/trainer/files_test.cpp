#include "trainer/files.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/resource.h>

#include <atomic>
#include <csignal>
#include <thread>

#include "kernels/error.h"
#include "tests/temporary_folder.h"

namespace minichilla::files_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> names_in(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    names.push_back(entry.path().filename());
  return names;
}

/// While it lives no file can grow beyond `bytes`: a write fails as on a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : old_handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit limited = {bytes, old_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limited);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit old_{};
  void (*old_handler_)(int);
};

TEST(ReadFile, GivesEveryByte) {
  const TemporaryFolder folder;
  std::string content(200000, 'x');
  content[100000] = '\0';
  EXPECT_EQ(read_file(folder.write("a", content)), content);
  EXPECT_EQ(read_file(folder.write("empty", "")), "");
}

TEST(ReadFile, NamesAFileThatCannotBeRead) {
  const TemporaryFolder folder;
  EXPECT_THAT(message_of<IoError>([&] { read_file(folder / "absent"); }), HasSubstr("absent: cannot read"));
  EXPECT_THAT(message_of<IoError>([&] { read_file(folder.path()); }), HasSubstr("cannot read"));
}

TEST(ReplaceFile, CreatesAndReplacesWithoutLeftovers) {
  const TemporaryFolder folder;
  replace_file(folder / "a", "one");
  EXPECT_EQ(read_file(folder / "a"), "one");
  replace_file(folder / "a", "");
  EXPECT_EQ(read_file(folder / "a"), "");
  EXPECT_THAT(names_in(folder.path()), ElementsAre("a"));
}

TEST(ReplaceFile, AReaderSeesTheOldOrTheNewContent) {
  const TemporaryFolder folder;
  const std::string one(100000, '1'), two(150000, '2');
  replace_file(folder / "a", one);
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    while (!stop) {
      replace_file(folder / "a", two);
      replace_file(folder / "a", one);
    }
  });
  int torn = 0;
  for (int i = 0; i < 200; ++i) {
    const std::string seen = read_file(folder / "a");
    torn += seen != one && seen != two;
  }
  stop = true;
  writer.join();
  EXPECT_EQ(torn, 0);
}

TEST(ReplaceFile, AFailedWriteKeepsTheOldFile) {
  const TemporaryFolder folder;
  replace_file(folder / "a", "old");
  {
    const FileSizeLimit limit(1000);
    EXPECT_THAT(message_of<IoError>([&] { replace_file(folder / "a", std::string(5000, 'x')); }),
                HasSubstr("a: cannot write"));
  }
  EXPECT_EQ(read_file(folder / "a"), "old");
  EXPECT_THAT(names_in(folder.path()), ElementsAre("a"));
}

TEST(ReplaceFile, NamesAPathThatCannotBe) {
  const TemporaryFolder folder;
  EXPECT_THAT(message_of<IoError>([&] { replace_file(folder / "no/such/a", "x"); }),
              HasSubstr("no/such/a: cannot create"));
  std::filesystem::create_directories(folder / "full/inside");
  EXPECT_THAT(message_of<IoError>([&] { replace_file(folder / "full", "x"); }),
              HasSubstr("full: cannot replace"));
  EXPECT_THAT(names_in(folder.path()), ElementsAre("full"));
}

TEST(TemporaryFile, TakesThePlaceOnceItIsWhole) {
  const TemporaryFolder folder;
  replace_file(folder / "a", "old");
  {
    TemporaryFile given_up(folder / "a");
    given_up.append("half");
    EXPECT_EQ(names_in(folder.path()).size(), 2u);
  }
  EXPECT_THAT(names_in(folder.path()), ElementsAre("a"));
  EXPECT_EQ(read_file(folder / "a"), "old");
  TemporaryFile file(folder / "a");
  file.append("one ");
  file.append("two");
  EXPECT_EQ(read_file(folder / "a"), "old");
  file.replace();
  EXPECT_EQ(read_file(folder / "a"), "one two");
  EXPECT_THAT(names_in(folder.path()), ElementsAre("a"));
}

TEST(Descriptor, ReadsAtAPlace) {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder.write("a", "0123456789");
  const Descriptor file(path, O_RDONLY, "read");
  std::string found(4, ' ');
  file.read_at(3, found, path);
  EXPECT_EQ(found, "3456");
  EXPECT_THAT(message_of<IoError>([&] { file.read_at(8, found, path); }),
              HasSubstr("a: cannot read: it ends before byte 11"));
}

TEST(PublishFile, TheFirstOneWins) {
  const TemporaryFolder folder;
  EXPECT_TRUE(publish_file(folder / "a", "first"));
  EXPECT_FALSE(publish_file(folder / "a", "second"));
  EXPECT_EQ(read_file(folder / "a"), "first");
  EXPECT_THAT(names_in(folder.path()), ElementsAre("a"));
}

TEST(PublishFile, OneOfManyThreadsWins) {
  const TemporaryFolder folder;
  for (int round = 0; round < 20; ++round) {
    const std::filesystem::path path = folder / std::to_string(round);
    std::atomic<int> winners = 0, winner = -1;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&, i] {
        if (publish_file(path, std::to_string(i))) {
          ++winners;
          winner = i;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(winners, 1);
    EXPECT_EQ(read_file(path), std::to_string(winner));
  }
  EXPECT_EQ(names_in(folder.path()).size(), 20u);
}

TEST(PublishFile, AFailedWriteLeavesNothing) {
  const TemporaryFolder folder;
  {
    const FileSizeLimit limit(1000);
    EXPECT_THROW(publish_file(folder / "a", std::string(5000, 'x')), IoError);
  }
  EXPECT_THAT(names_in(folder.path()), ElementsAre());
}

TEST(AppendedFile, GrowsByWholePiecesAlone) {
  const TemporaryFolder folder;
  AppendedFile file(folder / "a");
  file.append("one\n");
  {
    const FileSizeLimit limit(1000);
    EXPECT_THAT(message_of<IoError>([&] { file.append(std::string(5000, 'x')); }),
                HasSubstr("a: cannot write"));
    EXPECT_EQ(read_file(folder / "a"), "one\n");
  }
  file.append("two\n");
  file.sync();
  EXPECT_EQ(read_file(folder / "a"), "one\ntwo\n");
  AppendedFile(folder / "a").append("three\n");
  EXPECT_EQ(read_file(folder / "a"), "one\ntwo\nthree\n");
}

TEST(AppendedFile, NamesAPathThatCannotBe) {
  const TemporaryFolder folder;
  EXPECT_THAT(message_of<IoError>([&] { AppendedFile(folder / "no/a"); }), HasSubstr("no/a: cannot create"));
}

TEST(PathExists, TellsMissingFromUnknown) {
  const TemporaryFolder folder;
  EXPECT_TRUE(path_exists(folder.path()));
  EXPECT_FALSE(path_exists(folder / "absent"));
  EXPECT_FALSE(path_exists(folder.write("file", "") / "below"));
  const std::filesystem::path loop = folder / "loop";
  std::filesystem::create_symlink(loop, loop);
  EXPECT_THAT(message_of<IoError>([&] { path_exists(loop); }), HasSubstr("loop: cannot read"));
}

TEST(CreateFolder, MakesOneAndItsParentsOnlyWhenAsked) {
  const TemporaryFolder folder;
  create_synced_folder(folder / "a");
  create_synced_folder(folder / "a");
  EXPECT_THAT(message_of<IoError>([&] { create_synced_folder(folder / "b/c"); }),
              HasSubstr("b/c: cannot create"));
  create_synced_folders(folder / "b/c/d");
  create_synced_folders(folder / "b/c/d");
  EXPECT_TRUE(std::filesystem::is_directory(folder / "b/c/d"));
  EXPECT_THAT(message_of<IoError>([&] { create_synced_folders(folder.write("file", "") / "e/f"); }),
              HasSubstr("file/e: cannot create"));
}

TEST(MappedFile, ShowsTheWholeFileAndMoves) {
  const TemporaryFolder folder;
  MappedFile file(folder.write("a", "content"));
  EXPECT_EQ(std::string(file.bytes().begin(), file.bytes().end()), "content");
  MappedFile moved(std::move(file));
  EXPECT_EQ(moved.bytes().size(), 7u);
  MappedFile assigned;
  EXPECT_TRUE(assigned.bytes().empty());
  assigned = std::move(moved);
  EXPECT_EQ(std::string(assigned.bytes().begin(), assigned.bytes().end()), "content");
}

TEST(MappedFile, ShowsTheSameAfterItWasForgotten) {
  const TemporaryFolder folder;
  const MappedFile file(folder.write("a", "content"));
  file.forget();
  EXPECT_EQ(std::string(file.bytes().begin(), file.bytes().end()), "content");
  MappedFile().forget();
}

TEST(MappedFile, AnEmptyFileIsAnEmptySpan) {
  const TemporaryFolder folder;
  EXPECT_TRUE(MappedFile(folder.write("a", "")).bytes().empty());
}

TEST(MappedFile, RefusesWhatIsNoFile) {
  const TemporaryFolder folder;
  EXPECT_THAT(message_of<IoError>([&] { MappedFile(folder / "absent"); }), HasSubstr("absent: cannot read"));
  EXPECT_THAT(message_of<IoError>([&] { MappedFile(folder.path()); }), HasSubstr("expected a regular file"));
}

TEST(Sha256, AgreesWithPublishedVectors) {  // FIPS 180-2, appendix B
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST(Sha256, DoesNotDependOnThePieces) {
  Sha256 hash;
  for (const char letter : std::string("abc")) hash.add({&letter, 1});
  hash.add({});
  EXPECT_EQ(hash.hex(), sha256_hex("abc"));
}

TEST(Sha256, OfAFileIsThatOfItsBytes) {
  const TemporaryFolder folder;
  std::string content(3'000'001, 'x');
  for (std::size_t i = 0; i < content.size(); i += 1000) content[i] = static_cast<char>('a' + i / 1000 % 26);
  EXPECT_EQ(file_sha256(folder.write("a", content)), sha256_hex(content));
  EXPECT_EQ(file_sha256(folder.write("empty", "")), sha256_hex(""));
}

TEST(SyncFolder, NamesAFolderThatIsNotThere) {
  const TemporaryFolder folder;
  EXPECT_NO_THROW(sync_folder(folder.path()));
  EXPECT_THAT(message_of<IoError>([&] { sync_folder(folder / "absent"); }), HasSubstr("absent"));
}

}  // namespace
}  // namespace minichilla::files_test
