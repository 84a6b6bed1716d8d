#include "trainer/sentencepiece_tokenizer.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <functional>
#include <stdexcept>

#include "kernels/error.h"
#include "model/quote.h"
#include "trainer/text_documents.h"

namespace minichilla {
namespace {

constexpr std::string_view kSpaceMarker = "\xe2\x96\x81";  // U+2581
constexpr int kUnknown = 0, kEndOfDocument = 1;
/// Independent of the machine: the unigram trainer's sums depend on it.
constexpr const char* kTrainingThreads = "2";

/// Cuts `text` into runs that the library returns unchanged (`faithful`), and single markers and invalid
/// bytes.
void for_each_run(std::string_view text,
                  const std::function<void(std::string_view run, bool faithful)>& use) {
  std::size_t at = 0, marker = text.find(kSpaceMarker), invalid = first_invalid_utf8(text);
  while (at < text.size()) {
    const std::size_t end = std::min({marker, invalid, text.size()});
    if (end > at) {
      use(text.substr(at, end - at), true);
      at = end;
    } else if (at == marker) {
      use(text.substr(at, kSpaceMarker.size()), false);
      at += kSpaceMarker.size();
      marker = text.find(kSpaceMarker, at);
    } else {
      use(text.substr(at, 1), false);
      const std::size_t next = first_invalid_utf8(text.substr(++at));
      invalid = next == std::string_view::npos ? next : at + next;
    }
  }
}

class SentencePieceTokenizer : public Tokenizer {
 public:
  SentencePieceTokenizer(std::string_view model, const std::string& where) {
    const auto status = processor_.LoadFromSerializedProto({model.data(), model.size()});
    if (!status.ok()) {
      throw InputError(where + ": found no SentencePiece model (" + printable(status.error_message()) +
                       "), expected the one that 'minichilla data prepare' wrote");
    }
    byte_ids_.fill(-1);
    for (int id = 0; id < processor_.GetPieceSize(); ++id) add_piece(id);
    if (std::ranges::count(byte_ids_, -1) > 0 || !processor_.IsControl(kEndOfDocument)) {
      throw InputError(where + ": found a SentencePiece model without " +
                       (processor_.IsControl(kEndOfDocument) ? "byte pieces" : "an end of document as id 1") +
                       ", expected one that 'minichilla data prepare' wrote");
    }
    const std::string probe = " \xef\xac\x81  \xc2\xbd a\t\n ";  // a ligature, a fraction, spaces
    std::vector<std::int32_t> ids;
    encode(probe, ids);
    if (decode(ids) != probe) {
      throw InputError(where + ": found a SentencePiece model that normalises text, expected one that " +
                       "'minichilla data prepare' wrote");
    }
  }

  int vocabulary() const override { return static_cast<int>(bytes_.size()); }
  std::int32_t end_of_document() const override { return kEndOfDocument; }

  void encode(std::string_view text, std::vector<std::int32_t>& ids) const override {
    std::vector<int> pieces;
    for_each_run(text, [&](std::string_view run, bool faithful) {
      if (faithful) {
        const auto status = processor_.Encode({run.data(), run.size()}, &pieces);
        if (!status.ok()) throw std::runtime_error("SentencePiece: " + std::string(status.error_message()));
        ids.insert(ids.end(), pieces.begin(), pieces.end());
      } else {
        for (const char byte : run) ids.push_back(byte_ids_[static_cast<unsigned char>(byte)]);
      }
    });
  }

  std::string decode(const std::vector<std::int32_t>& ids) const override {
    std::string text;
    for (const std::int32_t id : ids) {
      if (id < 0 || id >= vocabulary()) {
        throw InputError("sentencepiece tokenizer: found token id " + std::to_string(id) +
                         ", expected 0 to " + std::to_string(vocabulary() - 1));
      }
      text += bytes_[static_cast<std::size_t>(id)];
    }
    return text;
  }

 private:
  /// Notes what piece `id` stands for.
  void add_piece(int id) {
    const std::string& piece = processor_.IdToPiece(id);
    std::string& bytes = bytes_.emplace_back();
    if (processor_.IsByte(id)) {  // "<0x0A>"
      unsigned value = 0;
      std::from_chars(piece.data() + 3, piece.data() + piece.size() - 1, value, 16);
      byte_ids_[value & 0xff] = id;
      bytes = static_cast<char>(value);
    } else if (!processor_.IsControl(id) && !processor_.IsUnknown(id)) {
      for (std::size_t i = 0; i < piece.size();) {
        const bool space = std::string_view(piece).substr(i).starts_with(kSpaceMarker);
        bytes += space ? ' ' : piece[i];
        i += space ? kSpaceMarker.size() : 1;
      }
    }
  }

  sentencepiece::SentencePieceProcessor processor_;
  std::vector<std::string> bytes_;          ///< of every id; none of <unk> and the end of a document
  std::array<std::int32_t, 256> byte_ids_;  ///< id of every byte's piece
};

/// The lines as the library's trainer wants them.
class Lines : public sentencepiece::SentenceIterator {
 public:
  explicit Lines(std::vector<std::string> lines) : lines_(std::move(lines)) {}
  bool done() const override { return next_ == lines_.size(); }
  void Next() override { ++next_; }
  const std::string& value() const override { return lines_[next_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  std::vector<std::string> lines_;
  std::size_t next_ = 0;
};

/// Cuts what encode() keeps from the library out of the lines, so that no piece is learned from it.
std::vector<std::string> faithful_lines(const std::vector<std::string>& lines) {
  std::vector<std::string> parts;
  for (const std::string& line : lines) {
    for_each_run(line, [&](std::string_view run, bool faithful) {
      if (faithful) parts.emplace_back(run);
    });
  }
  return parts;
}

/// The library's words behind "FILE(LINE) [CONDITION] ".
std::string reason_of(const sentencepiece::util::Status& status) {
  const std::string message = status.error_message();
  const std::size_t end = message.rfind("] ");
  return printable(end == std::string::npos ? message : message.substr(end + 2));
}

}  // namespace

std::string train_sentencepiece(const SentencePieceSettings& settings, std::vector<std::string> lines) {
  Lines sentences(faithful_lines(lines));
  lines.clear();
  std::string model;
  const auto status =
      sentencepiece::SentencePieceTrainer::Train({{"model_type", settings.model},
                                                  {"vocab_size", std::to_string(settings.vocabulary)},
                                                  {"byte_fallback", "true"},
                                                  {"normalization_rule_name", "identity"},
                                                  {"remove_extra_whitespaces", "false"},
                                                  {"add_dummy_prefix", "false"},
                                                  {"unk_id", std::to_string(kUnknown)},
                                                  {"eos_id", std::to_string(kEndOfDocument)},
                                                  {"bos_id", "-1"},
                                                  {"pad_id", "-1"},
                                                  {"num_threads", kTrainingThreads},
                                                  {"max_sentence_length", "1000000"},
                                                  {"minloglevel", "3"}},
                                                 &sentences, &model);
  if (status.ok()) return model;
  // The library tells which of its rules the text breaks: too few or too many pieces, no text.
  throw InputError("--vocab: found " + std::to_string(settings.vocabulary) +
                   ", which does not fit the training text: " + reason_of(status));
}

std::unique_ptr<Tokenizer> load_sentencepiece(std::string_view model, const std::string& where) {
  return std::make_unique<SentencePieceTokenizer>(model, where);
}

}  // namespace minichilla
