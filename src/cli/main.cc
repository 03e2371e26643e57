// The program: verbs, one error form, exit codes by kind of error.
#include <fmt/format.h>

#include "base/error.h"
#include "cli/cli.h"

int main(int argc, char** argv) {
  using namespace pagoda;  // NOLINT(google-build-using-namespace): a main reads better so
  CLI::App app{"Pagoda: trains, serves, embeds and ships Hugging Face style models from one native engine.", "pagoda"};
  cli::Program program;
  program.app = &app;
  app.set_version_flag("--version", std::string("pagoda ") + PAGODA_VERSION);
  app.require_subcommand(1);
  app.failure_message(CLI::FailureMessage::simple);
  cli::add_all(program);
  cli::install_signal_handlers();
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::CallForAllHelp& help) {
    return app.exit(help);
  } catch (const CLI::CallForVersion& version) {
    return app.exit(version);
  } catch (const CLI::ParseError& error) {
    fmt::print(stderr, "error: [flags] {} (see pagoda {}--help)\n", error.what(),
               argc > 1 && argv[1][0] != '-' ? std::string(argv[1]) + " " : "");
    return exit_code(ErrorKind::kInvalidInput);
  } catch (...) {
    const Error error = current_error();
    fmt::print(stderr, "error: {}\n", error.message());
    return exit_code(error.kind());
  }
  try {
    return program.run ? program.run() : 0;
  } catch (...) {
    const Error error = current_error();
    fmt::print(stderr, "error: {}\n", error.message());
    return exit_code(error.kind());
  }
}
