#include "trainer/numerics_id.h"

#include <elf.h>
#include <link.h>

#include <cstring>
#include <span>

#include "trainer/files.h"

namespace minichilla {
namespace {

/// A note of the executable, by its name and type.
struct Note {
  std::string name;
  ElfW(Word) type;
  std::string description;  ///< empty when there is none
};

/// Finds a note among those of a segment; every one is a header, a name with a zero at its end and a
/// description, each padded to 4 bytes (elf(5)).
std::string description_in(std::span<const char> notes, const Note& wanted) {
  const auto padded = [](std::size_t size) { return (size + 3) & ~std::size_t{3}; };
  while (notes.size() >= sizeof(ElfW(Nhdr))) {
    ElfW(Nhdr) header;
    std::memcpy(&header, notes.data(), sizeof header);
    const std::size_t name = sizeof header, description = name + padded(header.n_namesz);
    const std::size_t end = description + padded(header.n_descsz);
    if (end > notes.size()) break;
    if (header.n_type == wanted.type && header.n_namesz == wanted.name.size() + 1 &&
        wanted.name == std::string(notes.data() + name, wanted.name.size())) {
      return {notes.data() + description, header.n_descsz};
    }
    notes = notes.subspan(end);
  }
  return {};
}

/// Called for the executable first, then for every library; a value other than 0 ends the walk.
int look_in_executable(dl_phdr_info* object, std::size_t, void* note) {
  Note& wanted = *static_cast<Note*>(note);
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = object->dlpi_phdr[i];
    if (segment.p_type != PT_NOTE) continue;
    const auto* data = reinterpret_cast<const char*>(object->dlpi_addr + segment.p_vaddr);
    const std::string found = description_in({data, segment.p_memsz}, wanted);
    if (!found.empty()) wanted.description = found;
  }
  return 1;
}

std::string executable_note(const std::string& name, ElfW(Word) type) {
  Note note{name, type, {}};
  dl_iterate_phdr(look_in_executable, &note);
  return note.description;
}

}  // namespace

std::string build_identity() {
  const std::string build_id = executable_note("GNU", NT_GNU_BUILD_ID);
  return std::string("minichilla ") + MINICHILLA_VERSION + ", compiler " + __VERSION__ + ", build " +
         (build_id.empty() ? "" : sha256_hex(build_id));
}

std::string source_hash() {
  return executable_note("minichilla", 1);  // written by source_hash.cmake
}

std::string numerics_id(const RunConfig& config, const std::string& corpus_hash, const Device& device) {
  return sha256_hex(build_identity() + "\n" + device.numerics() + "\n" + config_hash(config, corpus_hash))
      .substr(0, 12);
}

}  // namespace minichilla
