// What the program and its MPI plugin agree on.
#pragma once

namespace pagoda {

class Communicator;

constexpr const char* kMpiPlugin = "libpagoda_mpi.so";
constexpr const char* kMakeMpiCommunicator = "pagoda_make_mpi_communicator";
using MakeMpiCommunicator = Communicator* (*)();  // the caller owns it; throws pagoda::Error

}  // namespace pagoda
