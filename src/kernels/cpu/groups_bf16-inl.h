// Register blocks for weights in groups over the bf16 dot-product instruction, native or stand-in. Included by one source for
// each, inside its region of instruction sets, hence no include guard and everything in an unnamed namespace.
//
// A group's sum is one chain over pairs of its inputs in ascending order, as in products_avx512bf16-inl.h; codes are exact in
// bfloat16, so nothing of the weight is rounded.

namespace pagoda {
namespace {

template <class Decoder>
HWY_INLINE void decode_pairs_by(const Decoder& decoder, int bits, const uint8_t* codes, int64_t inputs, int64_t ahead,
                                uint16_t* pairs) {
  if (bits == 4) {
    for (int64_t k = 0; k < inputs; k += 8, codes += 64, pairs += 128) {
      read_ahead(codes, ahead);
      decoder.nibbles(codes, pairs);
    }
  } else {
    for (int64_t k = 0; k < inputs; k += 4, codes += 64, pairs += 64) {
      read_ahead(codes, ahead);
      decoder.bytes(codes, pairs);
    }
  }
}

template <class Decoder>
void decode_pairs(const GroupCoding& coding, const uint8_t* codes, int64_t inputs, int64_t ahead, void* to) {
  decode_pairs_by(Decoder(coding.offset), coding.bits, codes, inputs, ahead, static_cast<uint16_t*>(to));
}

template <class I, int Rows, int Panels>
void dot_groups(const groups::Block& b) {
  const BFloat16* x = static_cast<const BFloat16*>(b.x);
  const char* w = static_cast<const char*>(b.w);
  const int64_t panel_bytes = b.panel_stride * 2;
  for (int64_t g = 0; g < b.count; ++g) {
    typename I::Floats sums[Rows][Panels];
    HWY_UNROLL(12)
    for (int r = 0; r < Rows; ++r) {
      HWY_UNROLL(4)
      for (int p = 0; p < Panels; ++p) sums[r][p] = I::zero();
    }
    for (int64_t k = 0; k < b.size; k += 2, x += 2, w += 64) {
      dot_step<I, Rows, Panels, false>(x, b.x_stride, w, panel_bytes, sums);
    }
    HWY_UNROLL(4)
    for (int p = 0; p < Panels; ++p) {
      const int64_t at = p * b.scale_stride + g * products::kPanel;
      const typename I::Floats scale = I::load(b.scales + at);
      HWY_UNROLL(12)
      for (int r = 0; r < Rows; ++r) {
        float* to = b.acc + r * b.acc_stride + p * products::kPanel;
        typename I::Floats acc = b.first && g == 0 ? I::zero() : I::load(to);
        acc = I::multiply_add(sums[r][p], scale, acc);
        if (b.minima != nullptr) {
          acc = I::multiply_add(I::broadcast_float(b.sums[r * b.sums_stride + g]), I::load(b.minima + at), acc);
        }
        I::store(acc, to);
      }
    }
  }
}

template <class I, int Rows, int Panels>
constexpr groups::BlockFn group_block_if_it_fits() {
  if constexpr (Rows * Panels <= 24) {
    return dot_groups<I, Rows, Panels>;
  } else {
    return nullptr;
  }
}
template <class I, int... kRows>
struct GroupTable {
  static constexpr groups::BlockFn kBlocks[sizeof...(kRows)][3] = {{group_block_if_it_fits<I, kRows + 1, 1>(),
                                                                    group_block_if_it_fits<I, kRows + 1, 2>(),
                                                                    group_block_if_it_fits<I, kRows + 1, 4>()}...};
};
template <class I, int... kRows>
constexpr auto& group_table(std::integer_sequence<int, kRows...>) {
  return GroupTable<I, kRows...>::kBlocks;
}

template <class I, class Decoder, int kRows = kDotMaxRows>
void run_dot_groups(products::EpilogueFn finish, groups::ExpandFn expand, const Exec& exec, const View& x, const PackedView& w,
                    const Epilogue& epilogue, const View& y) {
  const auto& blocks = group_table<I>(std::make_integer_sequence<int, kRows>());
  const groups::Family family{kRows, blocks, decode_pairs<Decoder>, 2, expand, nullptr, finish};
  groups::run_groups(family, exec, x, w, epilogue, y);
}

bool takes_bf16_groups(WeightFormat format, DType x, int64_t) { return groups::takes_groups(format) && x == DType::kBFloat16; }

}  // namespace
}  // namespace pagoda
