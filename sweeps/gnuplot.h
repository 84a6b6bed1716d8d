// gnuplot as a child process: finding it, running a script, quoting text for it.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace minichilla {

/// A single-quoted gnuplot string that prints `text` as it is: quotes, enhanced-mode marks ({ } ^ _ @ & ~ \)
/// and control characters cannot end the string or change its look.
std::string gnuplot_quoted(std::string_view text);

/// Path of gnuplot, searched in PATH. IoError names the Debian package when there is none.
std::filesystem::path find_gnuplot();

/// Runs `gnuplot SCRIPT` in `folder` without the user's own settings and waits for it. Returns what it said
/// on stderr (warnings); IoError with its first line when it failed.
std::string run_gnuplot(const std::filesystem::path& program, const std::filesystem::path& folder,
                        const std::string& script);

}  // namespace minichilla
