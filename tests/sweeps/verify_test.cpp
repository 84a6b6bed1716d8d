#include "sweeps/verify.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "sweeps/run_store.h"
#include "tests/sweeps/sweep_fixture.h"
#include "trainer/files.h"
#include "trainer/run_directory.h"

namespace minichilla::verify_test {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

class VerifyTest : public SweepFixture {
 protected:
  VerifyTest() {
    const SweepPlan planned = plan("kind: grid, sizes: [1x16], tokens: [6400], seeds: [1, 2, 3]");
    store_plan(sweep_folder(), planned, false);
    options_.executor.sweep = sweep_folder();
    options_.executor.program = MINICHILLA_BINARY;
    options_.runs = 3;
  }
  Verification verify() const { return verify_sweep(options_, {}); }
  /// Puts another value into the result of the first run.
  void change(const char* key, const nlohmann::json& value) const {
    const std::string name = "sweep/runs/" + read_plan(sweep_folder()).front().run_id + "/result.json";
    nlohmann::json result = nlohmann::json::parse(read_file(folder_ / name));
    result[key] = value;
    std::filesystem::remove(folder_ / name);
    folder_.write(name, result.dump());
  }

  VerifyOptions options_;
};

TEST_F(VerifyTest, BitsAreComparedUnderTheSameNumerics) {
  EXPECT_THAT(message_of<InputError>([&] { verify(); }), HasSubstr("found no finished run"));
  ASSERT_EQ(run_sweep(options_.executor, {}).done, 3);
  Verification verification = verify();
  EXPECT_THAT(verification.runs, SizeIs(3));
  EXPECT_TRUE(verification.agrees()) << verification_text(verification);
  EXPECT_TRUE(verification.runs[0].same_numerics);
  EXPECT_FALSE(std::filesystem::exists(sweep_folder() / "verify"));

  const double loss =
      read_result(run_folder(sweep_folder(), read_plan(sweep_folder()).front().run_id))->val_loss;
  change("val_loss", loss + 1e-12);
  verification = verify();
  EXPECT_FALSE(verification.agrees());
  EXPECT_THAT(verification_text(verification), HasSubstr("the losses differ"));
  EXPECT_TRUE(std::filesystem::exists(verification.kept)) << "to be looked at";

  change("numerics_id", "another");
  EXPECT_TRUE(verify().agrees()) << "within the tolerance, on another machine";
  change("val_loss", loss + 0.1);
  verification = verify();
  EXPECT_FALSE(verification.agrees());
  EXPECT_FALSE(verification_json(verification)["agrees"]);
  EXPECT_THAT(verification_text(verification), HasSubstr("differs by more than 0.02"));
}

TEST_F(VerifyTest, ASampleIsDrawnBySeed) {
  ASSERT_EQ(run_sweep(options_.executor, {}).done, 3);
  options_.runs = 1;
  std::set<std::string> drawn;
  for (options_.seed = 1; options_.seed <= 6; ++options_.seed) drawn.insert(verify().runs.at(0).run_id);
  EXPECT_GT(drawn.size(), 1u);
}

}  // namespace
}  // namespace minichilla::verify_test
