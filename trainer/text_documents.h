// Source files and the documents in them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace minichilla {

/// How a file is cut into documents.
///   paragraphs: at blank lines (nothing but spaces, tabs, a carriage return), but only once a document has
///   2048 bytes:
///               shorter paragraphs stay together with the blank lines between them. Blank lines at the cuts
///               and at both ends of the file belong to no document; all other bytes are kept as they are.
///   file:       the file as it is.
///   jsonl:      one string field of every line's JSON object.
enum class DocumentKind { paragraphs, file, jsonl };

/// InputError naming the option when `name` is none of the three.
DocumentKind parse_document_kind(const std::string& name);

constexpr std::int64_t kParagraphGroupBytes = 2048;

struct TextSource {
  std::filesystem::path path;
  std::string name;  ///< path below the given folder, or the file's name
};

struct SourceList {
  std::vector<TextSource> files;
  std::int64_t passed_over = 0;  ///< text files in the folders whose ending does not fit the kind
};

/// The inputs in the order given; a folder stands for all files below it (hidden ones left out) that end in
/// .txt or .md
/// (.jsonl for DocumentKind::jsonl), sorted by the bytes of their path below it. InputError for an input that
/// does not exist, a folder without such a file, a file named twice, a .jsonl file read as text.
SourceList list_sources(const std::vector<std::filesystem::path>& inputs, DocumentKind kind);

/// Offset of the first byte that is not valid UTF-8 (RFC 3629: no overlong forms, no surrogates, at most
/// U+10FFFF), or std::string_view::npos.
std::size_t first_invalid_utf8(std::string_view text);

/// The first position ≥ `position` where a UTF-8 character begins, or the end.
std::size_t character_start(std::string_view text, std::size_t position);

/// Hands every document with at least one byte to `use`, in order; the views live only during the call.
/// InputError "FILE:LINE: …" for a JSONL record that is not as expected. Returns
/// the number of empty ones.
std::int64_t for_each_document(const TextSource& source, std::string_view text, DocumentKind kind,
                               const std::string& jsonl_field,
                               const std::function<void(std::string_view)>& use);

}  // namespace minichilla
