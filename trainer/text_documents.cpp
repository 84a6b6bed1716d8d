#include "trainer/text_documents.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "kernels/error.h"
#include "model/quote.h"

namespace minichilla {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string lower_extension(const fs::path& path) {
  std::string extension = path.extension().string();
  for (char& letter : extension) letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  return extension;
}

bool is_jsonl(const fs::path& path) {
  return lower_extension(path) == ".jsonl";
}

bool is_text(const fs::path& path) {
  const std::string extension = lower_extension(path);
  return extension == ".txt" || extension == ".md";
}

/// Appends the files below `folder` that fit `kind`, sorted.
void list_folder(const fs::path& folder, DocumentKind kind, SourceList& list) {
  std::vector<TextSource> found;
  try {
    for (auto entry = fs::recursive_directory_iterator(folder); entry != fs::recursive_directory_iterator();
         ++entry) {
      if (entry->path().filename().string().starts_with('.')) {
        entry.disable_recursion_pending();
        continue;
      }
      if (!entry->is_regular_file() || (!is_text(entry->path()) && !is_jsonl(entry->path()))) continue;
      if (is_jsonl(entry->path()) == (kind == DocumentKind::jsonl)) {
        found.push_back({entry->path(), entry->path().lexically_relative(folder).generic_string()});
      } else {
        ++list.passed_over;
      }
    }
  } catch (const fs::filesystem_error& error) {
    throw IoError(folder.string() + ": cannot search: " + error.code().message());
  }
  if (found.empty()) {
    throw InputError(folder.string() + ": found no " +
                     (kind == DocumentKind::jsonl ? ".jsonl" : ".txt or .md") + " file below this folder" +
                     (list.passed_over == 0         ? ""
                      : kind == DocumentKind::jsonl ? "; is it text? then use --documents paragraphs"
                                                    : "; are they .jsonl? then use --documents jsonl"));
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  list.files.insert(list.files.end(), found.begin(), found.end());
}

/// The next line with its end of line, taken off the front of `rest`.
std::string_view take_line(std::string_view& rest) {
  const void* end = std::memchr(rest.data(), '\n', rest.size());
  const std::size_t size =
      end ? static_cast<std::size_t>(static_cast<const char*>(end) - rest.data()) + 1 : rest.size();
  const std::string_view line = rest.substr(0, size);
  rest.remove_prefix(size);
  return line;
}

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

std::string_view without_line_end(std::string_view line) {
  if (line.ends_with('\n')) line.remove_suffix(1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

void for_each_paragraph_group(std::string_view text, const std::function<void(std::string_view)>& use) {
  const char* begin = nullptr;  // of the open group
  const char* end = nullptr;    // of its last line that is not blank
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view line = take_line(rest);
    if (!is_blank(line)) {
      if (!begin) begin = line.data();
      const std::string_view content = without_line_end(line);
      end = content.data() + content.size();
    } else if (begin && end - begin >= kParagraphGroupBytes) {
      use({begin, static_cast<std::size_t>(end - begin)});
      begin = nullptr;
    }
  }
  if (begin) use({begin, static_cast<std::size_t>(end - begin)});
}

std::string field_of_record(std::string_view line, const std::string& where, const std::string& field) {
  json record;
  try {
    record = json::parse(line);
  } catch (const json::parse_error& error) {
    throw InputError(where + ": found no valid JSON (at byte " + std::to_string(error.byte) +
                     " of the line), expected an object with the text in field '" + field + "'");
  } catch (const json::out_of_range&) {
    throw InputError(where +
                     ": found a number beyond the range of a double, expected an object with the text " +
                     "in field '" + field + "'");
  }
  if (!record.is_object()) {
    throw InputError(where + ": found a JSON " + record.type_name() + ", expected an object with field '" +
                     field + "'");
  }
  const auto found = record.find(field);
  if (found == record.end()) {
    std::vector<std::string> names;
    for (const auto& item : record.items()) names.push_back(item.key());
    std::string all;
    for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
    if (all.empty()) all = "none";
    const std::string near = nearest_name(field, names);
    throw InputError(where + ": found no field '" + field + "'" +
                     (near.empty() ? "" : ", did you mean " + quote(near) + "?") +
                     " (--jsonl-field); this record's fields: " + quote(all));
  }
  if (!found->is_string()) {
    throw InputError(where + ": field '" + field + "': found a " + found->type_name() +
                     ", expected a string");
  }
  return std::move(found->get_ref<std::string&>());
}

}  // namespace

DocumentKind parse_document_kind(const std::string& name) {
  static const std::array<std::string, 3> kNames = {"paragraphs", "file", "jsonl"};
  const auto found = std::find(kNames.begin(), kNames.end(), name);
  if (found != kNames.end()) return static_cast<DocumentKind>(found - kNames.begin());
  const std::string near = nearest_name(name, kNames);
  throw InputError("--documents: found " + quote(name) + ", expected paragraphs, file or jsonl" +
                   (near.empty() ? "" : "; did you mean '" + near + "'?"));
}

SourceList list_sources(const std::vector<fs::path>& inputs, DocumentKind kind) {
  if (inputs.empty()) throw InputError("found no input, expected at least one file or folder");
  SourceList list;
  for (const fs::path& input : inputs) {
    std::error_code error;
    const fs::file_status status = fs::status(input, error);
    if (status.type() == fs::file_type::none) {
      throw IoError(input.string() + ": cannot read: " + error.message());
    } else if (fs::is_directory(status)) {
      list_folder(input, kind, list);
    } else if (!fs::exists(status)) {
      throw InputError(input.string() + ": no such file or folder");
    } else if (!fs::is_regular_file(status)) {
      throw InputError(input.string() +
                       ": found neither a file nor a folder (pipes cannot be read: text is mapped)");
    } else if (is_jsonl(input) && kind != DocumentKind::jsonl) {
      throw InputError(input.string() + ": found a .jsonl file, expected text; use --documents jsonl");
    } else {
      list.files.push_back({input, input.filename().string()});
    }
  }
  std::set<fs::path> seen;
  for (const TextSource& source : list.files) {
    std::error_code error;
    if (!seen.insert(fs::weakly_canonical(source.path, error)).second) {
      throw InputError(source.path.string() + ": this file is among the inputs twice");
    }
  }
  return list;
}

std::size_t first_invalid_utf8(std::string_view text) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  const std::size_t size = text.size();
  const auto continues = [&](std::size_t at, unsigned low, unsigned high) {
    return at < size && bytes[at] >= low && bytes[at] <= high;
  };
  std::size_t i = 0;
  while (i < size) {
    if (std::uint64_t eight; i + sizeof eight <= size) {
      std::memcpy(&eight, bytes + i, sizeof eight);
      if ((eight & 0x8080808080808080u) == 0) {
        i += sizeof eight;
        continue;
      }
    }
    const unsigned lead = bytes[i];
    std::size_t length = 0;
    if (lead < 0x80) {
      length = 1;
    } else if (lead >= 0xC2 && lead <= 0xDF) {
      if (continues(i + 1, 0x80, 0xBF)) length = 2;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
      const unsigned low = lead == 0xE0 ? 0xA0 : 0x80, high = lead == 0xED ? 0x9F : 0xBF;
      if (continues(i + 1, low, high) && continues(i + 2, 0x80, 0xBF)) length = 3;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
      const unsigned low = lead == 0xF0 ? 0x90 : 0x80, high = lead == 0xF4 ? 0x8F : 0xBF;
      if (continues(i + 1, low, high) && continues(i + 2, 0x80, 0xBF) && continues(i + 3, 0x80, 0xBF))
        length = 4;
    }
    if (length == 0) return i;
    i += length;
  }
  return std::string_view::npos;
}

std::size_t character_start(std::string_view text, std::size_t position) {
  while (position < text.size() && (static_cast<unsigned char>(text[position]) & 0xC0) == 0x80) ++position;
  return std::min(position, text.size());
}

std::int64_t for_each_document(const TextSource& source, std::string_view text, DocumentKind kind,
                               const std::string& jsonl_field,
                               const std::function<void(std::string_view)>& use) {
  if (kind == DocumentKind::file) {
    if (text.empty()) return 1;
    use(text);
    return 0;
  }
  if (kind == DocumentKind::paragraphs) {
    for_each_paragraph_group(text, use);
    return 0;
  }
  std::int64_t empty = 0, number = 0;
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view line = take_line(rest);
    ++number;
    if (is_blank(line)) continue;
    const std::string document =
        field_of_record(line, source.path.string() + ":" + std::to_string(number), jsonl_field);
    if (document.empty()) {
      ++empty;
    } else {
      use(document);
    }
  }
  return empty;
}

}  // namespace minichilla
