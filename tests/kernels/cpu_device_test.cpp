#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "kernels/device.h"
#include "tests/sanitizer.h"

namespace minichilla::cpu_device_test {
namespace {

TEST(CpuDevice, MemoryIsAlignedZeroedAndHeldByItsBuffer) {
  const auto device = make_cpu_device(1);
  for (const std::size_t bytes : {1u, 63u, 4096u, 1000001u, 5000001u}) {
    const Buffer buffer = device->allocate(bytes);
    EXPECT_EQ(buffer.bytes(), bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.as<char>()) % 64, 0u);
    for (std::size_t i = 0; i < bytes; ++i) ASSERT_EQ(buffer.as<char>()[i], 0) << i;
    std::memset(buffer.as<char>(), 0x5a,
                bytes);  // the next allocation may get this memory back, and zeroes it
  }
  EXPECT_EQ(device->allocate(0).bytes(), 0u);
}

TEST(CpuDevice, MoreMemoryThanThereIsThrows) {
  if (address_sanitized() || thread_sanitized()) {
    GTEST_SKIP() << "the sanitizer ends the process in place of std::bad_alloc";
  }
  EXPECT_THROW(make_cpu_device(1)->allocate(std::size_t{1} << 60), std::bad_alloc);
}

TEST(CpuDevice, UploadAndDownloadCopy) {
  const auto device = make_cpu_device(1);
  const Buffer buffer = device->allocate(12);
  const std::int32_t in[3] = {1, -2, 3};
  std::int32_t out[3] = {};
  device->upload(buffer.as<void>(), in, 12);
  device->download(out, buffer.as<void>(), 12);
  device->synchronize();
  EXPECT_THAT(out, testing::ElementsAre(1, -2, 3));
}

TEST(CpuDevice, CopiesInsideItsMemory) {
  const auto device = make_cpu_device(2);
  const std::vector<std::int32_t> in = {1, -2, 3, 4};
  const Buffer from = device->allocate(16), to = device->allocate(16);
  device->upload(from.as<void>(), in.data(), 16);
  device->for_each_task(2, [&](Lane& lane, int half) {
    device->copy(lane, to.as<char>() + 8 * half, from.as<char>() + 8 * half, 8);
  });
  std::vector<std::int32_t> out(4);
  device->download(out.data(), to.as<void>(), 16);
  EXPECT_EQ(out, in);
}

TEST(CpuDevice, RefusesLessThanOneLane) {
  EXPECT_THROW(make_cpu_device(0), std::invalid_argument);
}

TEST(CpuDevice, TaskIRunsOnLaneIModLanesInAscendingOrder) {
  for (const int lanes : {1, 2, 3, 7}) {
    const auto device = make_cpu_device(lanes);
    ASSERT_EQ(device->lanes(), lanes);
    for (const int tasks : {0, 1, 2, 5, 20}) {
      std::vector<std::vector<int>> seen(
          static_cast<std::size_t>(lanes));  // a lane's own entry: no lock is needed
      device->for_each_task(
          tasks, [&](Lane& lane, int task) { seen[static_cast<std::size_t>(lane.index())].push_back(task); });
      for (int lane = 0; lane < lanes; ++lane) {
        std::vector<int> expected;
        for (int task = lane; task < tasks; task += lanes) expected.push_back(task);
        EXPECT_EQ(seen[static_cast<std::size_t>(lane)], expected) << "lane " << lane << " of " << lanes;
      }
    }
  }
}

TEST(CpuDevice, LanesKeepTheirThreadsAndTheCallerIsOne) {
  const auto device = make_cpu_device(3);
  std::mutex mutex;
  std::set<std::thread::id> threads;
  for (int round = 0; round < 200; ++round) {
    device->for_each_task(3, [&](Lane&, int) {
      const std::lock_guard lock(mutex);
      threads.insert(std::this_thread::get_id());
    });
  }
  EXPECT_EQ(threads.size(), 3u);
  EXPECT_EQ(threads.count(std::this_thread::get_id()), 1u);
}

TEST(CpuDevice, AnExceptionIsRethrownAfterAllLanesHaveStopped) {
  const auto device = make_cpu_device(3);
  for (const int bad : {0, 1, 2, 4}) {
    std::atomic<int> inside = 0;
    EXPECT_THROW(device->for_each_task(6,
                                       [&](Lane&, int task) {
                                         ++inside;
                                         if (task == bad) {
                                           --inside;
                                           throw std::domain_error("task");
                                         }
                                         std::this_thread::sleep_for(std::chrono::milliseconds(2));
                                         --inside;
                                       }),
                 std::domain_error);
    EXPECT_EQ(inside, 0);
    int ran = 0;
    device->for_each_task(1, [&](Lane&, int) { ++ran; });
    EXPECT_EQ(ran, 1) << "the device still works";
  }
}

TEST(CpuDevice, OneLanesExceptionsAreReportedInTheOrderOfLanes) {
  const auto device = make_cpu_device(2);
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> ready = 0;
    try {
      device->for_each_task(2, [&](Lane&, int task) {
        ++ready;
        while (ready < 2) std::this_thread::yield();  // both lanes fail, in any order
        throw std::runtime_error(std::to_string(task));
      });
      FAIL();
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "0");
    }
  }
}

TEST(CpuDevice, NestedRoundsAreRefused) {
  const auto device = make_cpu_device(2);
  EXPECT_THROW(device->for_each_task(1, [&](Lane&, int) { device->for_each_task(1, [](Lane&, int) {}); }),
               std::logic_error);
}

TEST(CpuDevice, ItsWorkspaceIsOnePerLane) {
  const std::size_t one = make_cpu_device(1)->workspace_bytes();
  EXPECT_GT(one, 0u);
  EXPECT_EQ(make_cpu_device(3)->workspace_bytes(), 3 * one);
}

TEST(CpuDevice, SeveralDevicesLiveSideBySide) {
  const auto outer = make_cpu_device(2);
  std::atomic<int> ran = 0;
  outer->for_each_task(2, [&](Lane&, int) {
    const auto inner = make_cpu_device(2);
    inner->for_each_task(3, [&](Lane&, int) { ++ran; });
  });
  EXPECT_EQ(ran, 6);
}

TEST(CpuDevice, SaysWhatDecidesItsBits) {
  const auto device = make_cpu_device(1);
  EXPECT_EQ(device->name(), "cpu");
  EXPECT_THAT(device->numerics(), testing::MatchesRegex("cpu, [A-Z0-9]+, GCC .*|"
                                                        "cpu, [A-Z0-9]+, Clang .*"));
  EXPECT_EQ(device->numerics(), make_cpu_device(2)->numerics());
}

}  // namespace
}  // namespace minichilla::cpu_device_test
