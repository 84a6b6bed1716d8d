#include "sweeps/worker_slots.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "kernels/error.h"
#include "sweeps/disk_space.h"
#include "sweeps/machine.h"
#include "sweeps/memory_watch.h"
#include "tests/temporary_folder.h"

namespace minichilla::worker_slots_test {
namespace {

using testing::ElementsAre;

TEST(WorkerSlots, NumbersAreReadAsPeopleWriteThem) {
  EXPECT_THAT(parse_numbers("0", "--gpus"), ElementsAre(0));
  EXPECT_THAT(parse_numbers("3,0-2", "--gpus"), ElementsAre(3, 0, 1, 2));
  for (const char* text : {"", ",", "1,", "a", "2-1", "0,0", "0-2,1", "-1", "1-", "99999999999"}) {
    EXPECT_EQ(message_of<InputError>([&] { parse_numbers(text, "--gpus"); }),
              "--gpus: found '" + std::string(text) + "', expected different numbers such as 0,1,3 or 0-3");
  }
}

TEST(WorkerSlots, ACoreIsClaimedOnce) {
  const std::vector<int> unreal = {100001, 100002};  // no other process claims these
  CoreClaim first(unreal), second(unreal);
  EXPECT_EQ(first.core(), 100001);
  EXPECT_EQ(second.core(), 100002);
  EXPECT_FALSE(CoreClaim(unreal).core().has_value());
  CoreClaim moved = std::move(first);
  EXPECT_FALSE(first.core().has_value());
  EXPECT_FALSE(CoreClaim(unreal).core().has_value());
  moved = CoreClaim();
  EXPECT_EQ(CoreClaim(unreal).core(), 100001) << "free again";
}

TEST(WorkerSlots, AllowedCoresAreThoseOfTheAffinityMask) {
  EXPECT_GE(static_cast<int>(allowed_cores().size()), usable_cores());
}

/// Two nodes of two physical cores with two hardware threads each, numbered as Linux does: 0-3, then
/// siblings.
TEST(WorkerSlots, FewWorkersGetWholeCoresOfAllNodes) {
  const TemporaryFolder folder;
  const auto write = [&](const std::string& file, const std::string& text) {
    std::filesystem::create_directories((folder / file).parent_path());
    std::ofstream(folder / file) << text << "\n";
  };
  EXPECT_THAT(spread_over_machine({0, 2, 1}, folder.path()), ElementsAre(0, 2, 1)) << "nothing is known";
  for (int core = 0; core < 8; ++core) {
    write("cpu/cpu" + std::to_string(core) + "/topology/thread_siblings_list",
          std::to_string(core % 4) + "," + std::to_string(core % 4 + 4));
  }
  EXPECT_THAT(spread_over_machine({0, 1, 2, 3, 4, 5, 6, 7}, folder.path()),
              ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  write("node/node0/cpulist", "0-1,4-5");
  write("node/node1/cpulist", "2-3,6-7");
  write("node/node2/cpulist", "");
  EXPECT_THAT(spread_over_machine({0, 1, 2, 3, 4, 5, 6, 7}, folder.path()),
              ElementsAre(0, 2, 1, 3, 4, 6, 5, 7));
  EXPECT_THAT(spread_over_machine({1, 4, 5, 6}, folder.path()), ElementsAre(1, 6, 4, 5))
      << "of those allowed";
}

TEST(DiskSpace, IsAskedFor) {
  const TemporaryFolder folder;
  EXPECT_FALSE(is_disk_full(folder.path(), 1000));
  EXPECT_TRUE(is_disk_full(folder.path(), std::uint64_t{1} << 60));
  EXPECT_FALSE(is_disk_full(folder / "none", 1000)) << "another trouble";
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 0)
      << "nothing is left behind";
}

TEST(MemoryWatch, CountsWhatWorkersHaveNotTakenYet) {
  MemoryWatch watch;
  const WorkerMemory small{1 << 20, 0}, huge{std::uint64_t{1} << 60, 0};
  EXPECT_TRUE(watch.fits("cpu", small));
  EXPECT_FALSE(watch.fits("cpu", huge));
  watch.started(getpid(), "cpu", huge);
  EXPECT_FALSE(watch.fits("cpu", small)) << "that worker will take it all";
  watch.ended(getpid());
  EXPECT_TRUE(watch.fits("cpu", small));
  EXPECT_EQ(watch.needed("none", "cpu", "library").host, 0u);
}

}  // namespace
}  // namespace minichilla::worker_slots_test
