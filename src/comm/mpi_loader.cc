// Finds the shared object that knows MPI, only in ranks that a launcher of MPI started.
#include <dlfcn.h>
#include <unistd.h>

#include <array>

#include "base/env.h"
#include "base/error.h"
#include "base/file.h"
#include "comm/communicator.h"
#include "comm/mpi/plugin.h"

namespace pagoda {

namespace {

std::string program_folder() {
  std::array<char, 4096> path{};
  const ssize_t size = ::readlink("/proc/self/exe", path.data(), path.size() - 1);
  if (size <= 0) fail(ErrorKind::kDevice, "comm", "cannot find the program's own folder");
  return parent_path(std::string(path.data(), static_cast<size_t>(size)));
}

}  // namespace

bool started_by_mpi() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK"}) {
    if (env(name)) return true;
  }
  return false;
}

std::unique_ptr<Communicator> make_mpi_communicator() {
  std::string path = join_path(program_folder(), kMpiPlugin);
  // Installed: PREFIX/bin/pagoda and PREFIX/lib/pagoda.
  if (!file_exists(path)) path = join_path(parent_path(program_folder()), std::string("lib/pagoda/") + kMpiPlugin);
  if (!file_exists(path)) {
    unsupported("mpi", "started by mpirun, and {} is not there: need a build with libopenmpi-dev installed", path);
  }
  // Global: Open MPI's own plugins look for its symbols.
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) unsupported("mpi", "cannot load {}: {}", path, ::dlerror());
  const auto make = reinterpret_cast<MakeMpiCommunicator>(::dlsym(library, kMakeMpiCommunicator));
  if (make == nullptr) unsupported("mpi", "{} is of another version: {} is not in it", path, kMakeMpiCommunicator);
  std::unique_ptr<Communicator> ranks(make());
  return ranks->size() > 1 ? std::move(ranks) : nullptr;
}

}  // namespace pagoda
