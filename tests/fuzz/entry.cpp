// libFuzzer's entry point, the same for every target.
#include <cstdint>

#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  minichilla::fuzz_one({reinterpret_cast<const char*>(data), size});
  return 0;
}
