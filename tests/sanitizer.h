// Whether this process runs under a sanitizer: the linker knows, since a test's own code may be compiled without.
#pragma once

extern "C" {
__attribute__((weak)) void __asan_init();
__attribute__((weak)) void __tsan_init();
}

namespace minichilla {

inline bool address_sanitized() {
  return __asan_init != nullptr;
}
inline bool thread_sanitized() {
  return __tsan_init != nullptr;
}

}  // namespace minichilla
