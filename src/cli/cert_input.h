// What `heddle cert` reads: certificates out of files and from servers, and keys; and what is wrong
// with a file that holds something else.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/tls/certificate.h"

#include "cli/endpoint.h"

namespace heddle::cli {

// A failure to tell in one line. `status` is an exit status.
struct InputProblem {
  std::string text;
  int status = 2;
};

struct CertificateInput {
  std::vector<Certificate> certificates;  // Not empty, unless there is a problem.
  std::string negotiated;                 // Of a server: the version of TLS, if that got so far.
  std::string host;                       // Of a server: the name that was asked for.
  std::optional<InputProblem> problem;
};

struct TargetOptions {
  std::string target;       // A file, "-" for standard input, or HOST:PORT.
  std::string server_name;  // What to ask the server for; "": the host.
  double timeout_seconds = 10;
};

// Reads certificates: PEM, also several, or DER. A name of a file that is there is one; else what
// looks like HOST:PORT is a server, whose chain is taken without verifying it.
CertificateInput read_certificates(const TargetOptions& options);

// Reads a file of at most 4 MiB, or a pipe, or "-". Returns nothing and sets `problem` if it cannot
// be read or is empty.
std::optional<std::string> read_text(const std::string& path, std::optional<InputProblem>& problem);

// The certificates of a file's content; `path` is for what is said of it.
CertificateInput parse_content(const std::string& path, const std::string& content);

}  // namespace heddle::cli
