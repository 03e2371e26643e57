// Which fillers make up the table of a CPU, in order.
#include "kernels/cpu/reference.h"
#include "kernels/table.h"

namespace pagoda {

void fill_reference(KernelTable& table) {
  reference::fill_vector(table);
  reference::fill_attention(table);
  reference::fill_products(table);
}

void fill_cpu(KernelTable& table, Isa isa) {
  fill_reference(table);
  table.isa = isa;
}

}  // namespace pagoda
