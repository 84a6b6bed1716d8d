#include "model/config_fields.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>

#include "kernels/error.h"
#include "tests/temporary_folder.h"

namespace minichilla::config_fields_test {
namespace {

struct Inner {
  double rate = 0.5;
  std::string kind = "cosine";
};

struct Item {
  int size = 1;
  std::string name = "none";
};

struct Sample {
  int count = 3;
  std::int64_t tokens = 10;
  std::uint64_t seed = 1;
  bool enabled = false;
  std::string label = "a label";
  std::vector<std::string> words = {"one"};
  std::vector<std::string> patterns = {"dense"};
  std::vector<double> budgets = {1e11};
  std::vector<std::int64_t> seeds = {1, 2};
  std::vector<std::string> none;
  int doubled = 4;
  Inner inner;
  std::vector<Item> items;
};

template <class Fields>
void describe(Fields& fields, Inner& config) {
  fields.number("rate", config.rate, 0.0, 1.0);
  fields.choice("kind", config.kind, {"cosine", "linear"});
}

template <class Fields>
void describe(Fields& fields, Item& config) {
  fields.number("size", config.size, 1, 9);
  fields.text("name", config.name);
}

int parse_doubled(const std::string& text) {
  if (text.size() != 2) throw std::invalid_argument("two digits");
  return 2 * (text[0] - '0');
}

template <class Fields>
void describe(Fields& fields, Sample& config) {
  fields.number("count", config.count, 1, 100);
  fields.number("tokens", config.tokens, std::int64_t{1});
  fields.number("seed", config.seed, std::uint64_t{0});
  fields.flag("enabled", config.enabled);
  fields.text("label", config.label);
  fields.texts("words", config.words);
  fields.choices("patterns", config.patterns, {"dense", "banded"});
  fields.numbers("budgets", config.budgets, 1.0, 1e30);
  fields.numbers("seeds", config.seeds, std::int64_t{0}, std::int64_t{1000});
  fields.texts("none", config.none);
  fields.parsed("doubled", config.doubled, parse_doubled,
                [](int value) { return std::to_string(value / 2) + "!"; });
  fields.section("inner", config.inner);
  fields.sections("items", config.items, Item{7, "initial"});
}

Sample read(const std::string& yaml) {
  Sample sample;
  read_config(YAML::Load(yaml), "a.yaml", sample);
  return sample;
}

/// The message of the InputError that `action` ends with: always one line.
template <class Action>
std::string input_error(Action action) {
  const std::string message = message_of<InputError>(action);
  EXPECT_EQ(message.find('\n'), std::string::npos) << "not one line: " << message;
  return message;
}

std::string error_of(const std::string& yaml) {
  return input_error([&] { read(yaml); });
}

TEST(ParseQuantity, ReadsNumbersAndSuffixes) {
  EXPECT_EQ(parse_quantity("1000"), 1000);
  EXPECT_EQ(parse_quantity("3e11"), 3e11);
  EXPECT_EQ(parse_quantity("-2.5"), -2.5);
  EXPECT_EQ(parse_quantity("7k"), 7000);
  EXPECT_EQ(parse_quantity("7K"), 7000);
  EXPECT_EQ(parse_quantity("1.36M"), 1360000);
  EXPECT_EQ(parse_quantity("2G"), 2e9);
  EXPECT_EQ(parse_quantity("70B"), 70e9);
  EXPECT_EQ(parse_quantity("1.4T"), 1.4e12);
  EXPECT_EQ(parse_quantity("1.5e2k"), 150000);
  EXPECT_EQ(parse_quantity("5.k"), 5000);
}

TEST(ParseQuantity, DecimalsWithSuffixesAreExact) {
  for (int hundredths = 1; hundredths < 2000; ++hundredths) {
    char text[32];
    std::snprintf(text, sizeof text, "%d.%02dM", hundredths / 100, hundredths % 100);
    EXPECT_EQ(parse_quantity(text), hundredths * 10000.0) << text;
  }
}

TEST(ParseQuantity, RefusesEverythingElse) {
  for (const char* text : {"",       " ",     "k",    "M",     "-",   "-k",    ".",        ".k",    "e5",
                           "1e",     "1ek",   "1 k",  " 1",    "1 ",  "1kk",   "1m",       "1,000", "1_000",
                           "0x10",   "0x1p3", "nan",  "NaN",   "inf", "-inf",  "infinity", "1e400", "1e300T",
                           "1e308M", "+5",    "five", "1.2.3", "--1", "1e5e5", "١"}) {
    EXPECT_THROW(parse_quantity(text), std::invalid_argument) << "'" << text << "'";
  }
  EXPECT_THROW(parse_quantity(std::string("1\0", 2)), std::invalid_argument);
}

TEST(FormatNumber, ParsesBackToTheSameDouble) {
  for (const double value : {0.0, 1.0, 0.1, 1.0 / 3, 1e11, 1.36e6, 5e-324, 1.7976931348623157e308, -2.5}) {
    EXPECT_EQ(parse_quantity(format_number(value)), value);
  }
  EXPECT_EQ(format_number(0.0057), "0.0057");
}

TEST(ConfigReader, AbsentKeysKeepTheirDefaults) {
  for (const char* yaml : {"", "{}", "# a comment", "---", "inner:", "inner: {}", "inner: ~"}) {
    const Sample sample = read(yaml);
    EXPECT_EQ(sample.count, 3) << yaml;
    EXPECT_EQ(sample.inner.rate, 0.5) << yaml;
    EXPECT_THAT(sample.seeds, testing::ElementsAre(1, 2)) << yaml;
  }
}

TEST(ConfigReader, ReadsEveryKind) {
  const Sample sample = read(
      "count: 1e1\ntokens: 1.36M\nseed: 9007199254740992\nenabled: true\nlabel: 'x: y'\nwords: [a, 'b c']\n"
      "patterns: banded\nbudgets: [1e11, 3G]\nseeds: 5\ndoubled: 21\ninner: {rate: 1, kind: linear}\n"
      "items: [{size: 2}, {}, {name: last}]\n");
  EXPECT_EQ(sample.count, 10);
  EXPECT_EQ(sample.tokens, 1360000);
  EXPECT_EQ(sample.seed, std::uint64_t{1} << 53);
  EXPECT_TRUE(sample.enabled);
  EXPECT_EQ(sample.label, "x: y");
  EXPECT_THAT(sample.words, testing::ElementsAre("a", "b c"));
  EXPECT_THAT(sample.patterns, testing::ElementsAre("banded"));
  EXPECT_THAT(sample.budgets, testing::ElementsAre(1e11, 3e9));
  EXPECT_THAT(sample.seeds, testing::ElementsAre(5));
  EXPECT_EQ(sample.doubled, 4);
  EXPECT_EQ(sample.inner.kind, "linear");
  ASSERT_EQ(sample.items.size(), 3u);
  EXPECT_EQ(sample.items[0].size, 2);
  EXPECT_EQ(sample.items[0].name, "initial");
  EXPECT_EQ(sample.items[1].size, 7);
  EXPECT_EQ(sample.items[2].name, "last");
}

TEST(ConfigReader, UnknownKeysSuggestTheNearestName) {
  EXPECT_EQ(
      error_of("count: 1\ncounts: 2"),
      "a.yaml:2: counts: found an unknown key, expected one of count, tokens, seed, enabled, label, words, "
      "patterns, budgets, seeds, none, doubled, inner, items; did you mean count?");
  EXPECT_EQ(error_of("inner:\n  rate: 0.1\n  rates: 0.1"),
            "a.yaml:3: inner.rates: found an unknown key, expected one of rate, kind; did you mean rate?");
  EXPECT_EQ(error_of("inner: {zzzzzzzz: 1}"),
            "a.yaml:1: inner.zzzzzzzz: found an unknown key, expected one of rate, kind");
  EXPECT_EQ(error_of("items:\n  - {size: 1}\n  - {sise: 1}"),
            "a.yaml:3: items[1].sise: found an unknown key, expected one of size, name; did you mean size?");
  EXPECT_EQ(error_of("<<: {count: 4}").find("a.yaml:1: <<: found an unknown key"), 0u);
}

TEST(ConfigReader, DuplicateKeysAreErrors) {
  EXPECT_EQ(error_of("count: 1\nlabel: x\ncount: 2"),
            "a.yaml:3: count: found a second time, expected once (first on line 1)");
  EXPECT_EQ(error_of("inner:\n  rate: 1\n  rate: 1"),
            "a.yaml:3: inner.rate: found a second time, expected once (first on line 2)");
}

TEST(ConfigReader, WrongTypesNameWhatWasFound) {
  EXPECT_EQ(error_of("count:"), "a.yaml:1: count: found nothing, expected a single value");
  EXPECT_EQ(error_of("count:\nlabel: x"), "a.yaml:1: count: found nothing, expected a single value");
  EXPECT_EQ(error_of("inner:\n  kind:\n  rate: 1"),
            "a.yaml:2: inner.kind: found nothing, expected a single value");
  EXPECT_EQ(error_of("count: [1]"), "a.yaml:1: count: found a list, expected a single value");
  EXPECT_EQ(error_of("label: {a: 1}"), "a.yaml:1: label: found a map, expected a single value");
  EXPECT_EQ(error_of("\ninner: 5"), "a.yaml:2: inner: found '5', expected a map of keys");
  EXPECT_EQ(error_of("inner: [5]"), "a.yaml:1: inner: found a list, expected a map of keys");
  EXPECT_EQ(error_of("items: {size: 1}"), "a.yaml:1: items: found a map, expected a list of maps");
  EXPECT_EQ(error_of("items:\n- 5"), "a.yaml:2: items[0]: found '5', expected a map of keys");
  EXPECT_EQ(error_of("words: []"), "a.yaml:1: words: found an empty list, expected at least one value");
  EXPECT_EQ(error_of("words: {a: 1}"), "a.yaml:1: words: found a map, expected a list");
  EXPECT_EQ(error_of("words:\n  - a\n  - ~\n"), "a.yaml:3: words[1]: found nothing, expected a single value");
  EXPECT_EQ(error_of("budgets: [1e11, [2]]"), "a.yaml:1: budgets[1]: found a list, expected a single value");
  EXPECT_EQ(error_of("enabled: yes"), "a.yaml:1: enabled: found 'yes', expected true or false");
  EXPECT_EQ(error_of("enabled: ''"), "a.yaml:1: enabled: found '', expected true or false");
  EXPECT_EQ(error_of("doubled: 123"), "a.yaml:1: doubled: found '123', expected two digits");
  EXPECT_EQ(error_of("just text"), "a.yaml:1: the config: found 'just text', expected a map of keys");
  EXPECT_EQ(error_of("- a\n- b"), "a.yaml:1: the config: found a list, expected a map of keys");
  EXPECT_EQ(error_of("? [a, b]\n: 1"), "a.yaml:1: the config: found a list as a key, expected a name");
}

TEST(ConfigReader, NumbersKeepTheirRange) {
  EXPECT_EQ(error_of("count: 0"), "a.yaml:1: count: found '0', expected a whole number from 1 to 100");
  EXPECT_EQ(error_of("count: 101"), "a.yaml:1: count: found '101', expected a whole number from 1 to 100");
  EXPECT_EQ(error_of("count: 1.5"), "a.yaml:1: count: found '1.5', expected a whole number");
  EXPECT_EQ(error_of("inner: {rate: 1.5}"),
            "a.yaml:1: inner.rate: found '1.5', expected a number from 0 to 1");
  EXPECT_EQ(error_of("seeds: [1, -1]"),
            "a.yaml:1: seeds[1]: found '-1', expected a whole number from 0 to 1000");
  EXPECT_EQ(error_of("budgets: [0]"), "a.yaml:1: budgets[0]: found '0', expected a number from 1 to 1e+30");
  for (const char* text : {"0x10", "nan", "inf", "-inf", "1e999", "ten", ".inf", ".nan"}) {
    EXPECT_EQ(error_of(std::string("count: ") + text), std::string("a.yaml:1: count: found '") + text +
                                                           "', expected a number such as 1000, 3e11 or 1.36M "
                                                           "(suffixes k, M, G, T)");
  }
}

TEST(ConfigReader, WholeNumbersEndWhereDoublesSkipSome) {
  EXPECT_EQ(read("tokens: 9007199254740992").tokens, std::int64_t{1} << 53);
  for (const char* text : {"9223372036854775807", "9223372036854775808", "18446744073709551615", "1e300"}) {
    EXPECT_THAT(error_of(std::string("tokens: ") + text),
                testing::HasSubstr("expected a whole number from 1 to "));
    EXPECT_THAT(error_of(std::string("seed: ") + text),
                testing::HasSubstr("expected a whole number from 0 to "));
  }
  EXPECT_THAT(error_of("seed: -1"), testing::HasSubstr("expected a whole number from 0 to "));
}

TEST(ConfigReader, ChoicesSuggestTheNearestName) {
  EXPECT_EQ(error_of("inner: {kind: cosin}"),
            "a.yaml:1: inner.kind: found 'cosin', expected one of cosine, linear; did you mean cosine?");
  EXPECT_EQ(error_of("patterns:\n- dense\n- bandid"),
            "a.yaml:3: patterns[1]: found 'bandid', expected one of dense, banded; did you mean banded?");
}

TEST(ConfigReader, ForeignTextStaysOnOneShortLine) {
  EXPECT_THAT(error_of("count: |\n  two\n  lines\n"), testing::HasSubstr("found 'two\\nlines\\n', expected"));
  EXPECT_THAT(error_of("\"a\\nb\": 1"), testing::HasSubstr("a.yaml:1: a\\nb: found an unknown key"));
  EXPECT_LT(error_of("count: " + std::string(100000, 'x')).size(), 300u);
  EXPECT_LT(error_of(std::string(1000, 'x') + ": 1").size(), 500u);
}

TEST(ConfigReader, TellsWhichKeysAreThere) {
  ConfigReader reader(YAML::Load("{a: 1, b: ~}"), "a.yaml", "");
  EXPECT_TRUE(reader.has("a"));
  EXPECT_TRUE(reader.has("b"));
  EXPECT_FALSE(reader.has("c"));
  EXPECT_EQ(input_error([&] { reader.fail("a", "found 1, expected 2"); }),
            "a.yaml:1: a: found 1, expected 2");
  EXPECT_EQ(input_error([&] { reader.fail("c", "expected"); }), "a.yaml:1: c: expected");
}

TEST(ConfigWriter, WritesEveryKeyAndReadsBackAsItself) {
  Sample sample;
  sample.tokens = std::int64_t{1} << 53;
  sample.budgets = {1.0 / 3 + 1, 1e30};
  sample.words = {"null", "~", "",    "true", " a ", "a: b", "#x",   "two\nlines",  "é",  "'",
                  "\"",   "-", "[x]", "\t",   "{",   "1e3",  "\x01", "a, b",        "&a", "*a",
                  "!t",   "%", "@",   "`",    "?",   ": ",   "0x10", "back\\slash", "\r", "a\r"};
  sample.label = "null";
  sample.items = {{2, "first"}, {3, "~"}};
  const std::string text = yaml_text(write_config(sample));
  EXPECT_EQ(text.back(), '\n');
  EXPECT_THAT(text, testing::HasSubstr("seeds: [1, 2]"));

  Sample again;
  read_config(YAML::Load(text), "a.yaml", again);
  EXPECT_EQ(again.tokens, sample.tokens);
  EXPECT_EQ(again.budgets, sample.budgets);
  EXPECT_EQ(again.words, sample.words);
  EXPECT_EQ(again.label, sample.label);
  ASSERT_EQ(again.items.size(), 2u);
  EXPECT_EQ(again.items[1].name, "~");
  EXPECT_TRUE(again.none.empty());
}

TEST(ConfigWriter, KeepsCarriageReturnsAtTheEndOfALine) {
  for (const std::string word : {"a\r", "\ra", "\r\n", "\r"}) {
    Sample sample, again;
    sample.label = word;
    read_config(YAML::Load(yaml_text(write_config(sample))), "a.yaml", again);
    EXPECT_EQ(again.label, word);
  }
}

/// yaml-cpp's own text of a config.
std::string emitted(YAML::Node node) {
  for (const auto& entry : node) {
    YAML::Node value = entry.second;
    const bool scalars = value.IsSequence() && (value.size() == 0 || value[0].IsScalar());
    if (scalars && entry.first.Scalar() != "items") value.SetStyle(YAML::EmitterStyle::Flow);
  }
  YAML::Emitter emitter;
  emitter << node;
  return std::string(emitter.c_str()) + "\n";
}

TEST(ConfigWriter, WritesWhatTheYamlLibraryWould) {
  Sample sample;
  EXPECT_EQ(yaml_text(write_config(sample)), emitted(yaml_of(write_config(sample))));
  sample.items = {{2, "first"}, {3, "~"}};
  sample.budgets = {1.0 / 3, 1e30, -0.5, 1e-9};
  for (const std::string word : {"",
                                 "null",
                                 "Null",
                                 "NULL",
                                 "~",
                                 "true",
                                 "No",
                                 "12",
                                 "-1",
                                 "1e-08",
                                 "/a/path-1_b.c",
                                 "./a",
                                 "a b",
                                 "a,b",
                                 "a: b",
                                 "a:b",
                                 "a #b",
                                 "a#b",
                                 "200 steps",
                                 "0.01*(16/d_model)^0.8",
                                 "[x]",
                                 "{x}",
                                 "two\nlines",
                                 "\xc3\xa9",
                                 "-",
                                 "--- a",
                                 "...",
                                 "a\\b",
                                 "'a'",
                                 "\"a\"",
                                 "\x01",
                                 " a",
                                 "a ",
                                 "&a",
                                 "*a",
                                 "!a",
                                 "%a",
                                 "@a",
                                 "`a",
                                 "?a",
                                 "|",
                                 ">"}) {
    sample.label = word;
    sample.words = {"a", word};
    EXPECT_EQ(yaml_text(write_config(sample)), emitted(yaml_of(write_config(sample)))) << word;
  }
}

TEST(ConfigWriter, ResolvedTextIsAFixedPoint) {
  Sample sample;
  sample.doubled = 20;
  YAML::Node map = yaml_of(write_config(sample));
  map.remove("doubled");  // written in a form that does not read back, to see that formats are used
  Sample again;
  read_config(map, "a.yaml", again);
  again.doubled = 20;
  EXPECT_EQ(yaml_text(write_config(again)), yaml_text(write_config(sample)));
  EXPECT_THAT(yaml_text(write_config(sample)), testing::HasSubstr("doubled: 10!"));
}

TEST(ConfigWriter, KeepsTheOrderOfTheDescription) {
  const std::string text = yaml_text(write_config(Sample{}));
  EXPECT_LT(text.find("count:"), text.find("tokens:"));
  EXPECT_LT(text.find("tokens:"), text.find("inner:"));
}

TEST(LoadYaml, ReadsFiles) {
  const TemporaryFolder folder;
  EXPECT_EQ(load_yaml(folder.write("a.yaml", "count: 5\n").string())["count"].Scalar(), "5");
}

TEST(LoadYaml, EmptyFilesAreEmptyMaps) {
  const TemporaryFolder folder;
  for (const char* content : {"", "\n\n", "# nothing\n", "---\n", "~\n"}) {
    const std::string file = folder.write("a.yaml", content).string();
    YAML::Node map = load_yaml(file);
    EXPECT_TRUE(map.IsMap()) << content;
    set_path(map, "inner.rate=0.25");
    Sample sample;
    read_config(map, file, sample);
    EXPECT_EQ(sample.inner.rate, 0.25);
  }
}

TEST(LoadYaml, NamesFileAndLineOfWhatIsNoYaml) {
  const TemporaryFolder folder;
  const auto error = [&](const std::string& content) {
    const std::string file = folder.write("a.yaml", content).string();
    return input_error([&] { load_yaml(file); }).substr(file.size());
  };
  EXPECT_THAT(error("count: 5\nlabel: [a, b\nwords: 1\n"),
              testing::StartsWith(":3: found no YAML, expected a config: "));
  EXPECT_EQ(error("a: 1\n---\nb: 2\n"),
            ":2: found no YAML, expected a config: a second document begins here");
  EXPECT_THAT(error(std::string(100000, '[')), testing::HasSubstr("found no YAML"));
  // The library reports the second document of this for ever.
  EXPECT_THAT(error("{a: 1}, b"), testing::HasSubstr("a second document begins here"));
}

TEST(SetPath, BoundsWhatAliasesAndPathsMake) {
  const YAML::Node map(YAML::NodeType::Map);
  std::string doubled = "a=[&a [x, x]";
  for (char name = 'b'; name <= 'z'; ++name) {
    const std::string before = std::string(" *") + static_cast<char>(name - 1);
    doubled += std::string(", &") + name + " [" + before + "," + before + "]";
  }
  EXPECT_THAT(input_error([&] { set_path(map, doubled + "]"); }), testing::HasSubstr("too many values"));
  std::string deep = "a";
  for (int i = 0; i < 30000; ++i) deep += ".a";
  EXPECT_THAT(input_error([&] { set_path(map, deep + "=1"); }),
              testing::HasSubstr("30001 names in the path"));
  EXPECT_THAT(input_error([&] { set_path(map, "a={b: 1}, c"); }), testing::HasSubstr("a second document"));
}

TEST(SetPath, MessagesAreOneLine) {
  YAML::Node map(YAML::NodeType::Map);
  map["a\nb"] = 1;
  const std::string message = input_error([&] { set_path(map, "a\nb.c=1"); });
  EXPECT_THAT(message, testing::HasSubstr("a\\nb, expected a section"));
  EXPECT_EQ(message.find('\n'), std::string::npos);
}

TEST(LoadYaml, MissingFilesAndFoldersAreWrongInput) {
  EXPECT_EQ(input_error([] { load_yaml("/no/such/config.yaml"); }),
            "/no/such/config.yaml: found no such file, expected a YAML config");
  EXPECT_EQ(input_error([] { load_yaml("/"); }), "/: found a folder, expected a YAML config file");
}

TEST(SetPath, SetsAndReplacesValues) {
  YAML::Node map = YAML::Load("{inner: {rate: 0.1, kind: linear}, items: ~}");
  set_path(map, "inner.rate=0.75");
  set_path(map, "tokens=1.36M");
  set_path(map, "budgets=[1e12, 3e12]");
  set_path(map, "label=a=b");
  set_path(map, "items=[{size: 4}]");
  Sample sample;
  read_config(map, "a.yaml", sample);
  EXPECT_EQ(sample.inner.rate, 0.75);
  EXPECT_EQ(sample.inner.kind, "linear");
  EXPECT_EQ(sample.tokens, 1360000);
  EXPECT_THAT(sample.budgets, testing::ElementsAre(1e12, 3e12));
  EXPECT_EQ(sample.label, "a=b");
  EXPECT_EQ(sample.items.at(0).size, 4);
}

TEST(SetPath, MakesSectionsOnTheWay) {
  for (const char* yaml : {"{}", "{inner: }", "{inner: {}}", "{count: 5}"}) {
    YAML::Node map = YAML::Load(yaml);
    set_path(map, "inner.rate=0.75");
    Sample sample;
    read_config(map, "a.yaml", sample);
    EXPECT_EQ(sample.inner.rate, 0.75) << yaml;
  }
  YAML::Node deep(YAML::NodeType::Map);
  set_path(deep, "a.b.c.d=1");
  EXPECT_EQ(deep["a"]["b"]["c"]["d"].Scalar(), "1");
}

TEST(SetPath, ErrorsInItsValuesBlameNoLineOfTheFile) {
  YAML::Node map = YAML::Load("label: x\ninner:\n  rate: 1\n");
  set_path(map, "inner.rate=7");
  Sample sample;
  EXPECT_EQ(input_error([&] { read_config(map, "a.yaml", sample); }),
            "a.yaml: inner.rate: found '7', expected a number from 0 to 1");
}

TEST(SetPath, RefusesWhatIsNoAssignment) {
  for (const char* text : {"", "=", "=1", "count", "a..b=1", ".a=1", "a.=1"}) {
    YAML::Node map(YAML::NodeType::Map);
    EXPECT_EQ(input_error([&] { set_path(map, text); }),
              std::string("--set: found '") + text +
                  "', expected path=value such as train.optimizer.learning_rate=0.01");
  }
  YAML::Node map = YAML::Load("{count: 5, words: [a]}");
  EXPECT_EQ(input_error([&] { set_path(map, "count="); }),
            "--set count=: found no value, expected path=value");
  EXPECT_EQ(input_error([&] { set_path(map, "count.x=1"); }),
            "--set count.x=1: found '5' as count, expected a section");
  EXPECT_EQ(input_error([&] { set_path(map, "words.x.y=1"); }),
            "--set words.x.y=1: found a list as words, expected a section");
  EXPECT_THAT(input_error([&] { set_path(map, "words=[a"); }),
              testing::StartsWith("--set words=[a: found a value that is not YAML, expected"));
  EXPECT_THAT(input_error([&] { set_path(map, "words=&x [*x]"); }), testing::HasSubstr("not YAML"));
  EXPECT_EQ(input_error([&] { set_path(YAML::Load("[1]"), "a=1"); }),
            "--set a=1: found a list as the config, expected a section");
}

}  // namespace
}  // namespace minichilla::config_fields_test
