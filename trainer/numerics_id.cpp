#include "trainer/numerics_id.h"

#include <elf.h>
#include <link.h>

#include <cstring>
#include <span>

#include "trainer/files.h"

namespace minichilla {
namespace {

/// Finds NT_GNU_BUILD_ID among the notes of a segment; every note is a header, a name and a description, each
/// padded to 4 bytes (elf(5)).
std::string build_id_in(std::span<const char> notes) {
  const auto padded = [](std::size_t size) { return (size + 3) & ~std::size_t{3}; };
  while (notes.size() >= sizeof(ElfW(Nhdr))) {
    ElfW(Nhdr) header;
    std::memcpy(&header, notes.data(), sizeof header);
    const std::size_t name = sizeof header, description = name + padded(header.n_namesz);
    const std::size_t end = description + padded(header.n_descsz);
    if (end > notes.size()) break;
    if (header.n_type == NT_GNU_BUILD_ID &&
        std::string(notes.data() + name, header.n_namesz) == std::string("GNU", 4)) {
      return sha256_hex({notes.data() + description, header.n_descsz});
    }
    notes = notes.subspan(end);
  }
  return {};
}

/// Called for the executable first, then for every library; a value other than 0 ends the walk.
int take_executable(dl_phdr_info* object, std::size_t, void* found) {
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = object->dlpi_phdr[i];
    if (segment.p_type != PT_NOTE) continue;
    const auto* data = reinterpret_cast<const char*>(object->dlpi_addr + segment.p_vaddr);
    const std::string id = build_id_in({data, segment.p_memsz});
    if (!id.empty()) *static_cast<std::string*>(found) = id;
  }
  return 1;
}

}  // namespace

std::string build_identity() {
  std::string build_id;
  dl_iterate_phdr(take_executable, &build_id);
  return std::string("minichilla ") + MINICHILLA_VERSION + ", compiler " + __VERSION__ + ", build " +
         build_id;
}

std::string numerics_id(const RunConfig& config, const std::string& corpus_hash, const Device& device) {
  return sha256_hex(build_identity() + "\n" + device.numerics() + "\n" + config_hash(config, corpus_hash))
      .substr(0, 12);
}

}  // namespace minichilla
