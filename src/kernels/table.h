// The kernel table of one device: typed entries, filled in order, each by the best instruction set that has it.
//
// Rules for every entry:
// - Views are row-major with unit stride in the last dimension; rows may be strided where a comment says so.
// - Kernels never throw, allocate from the system or log; scratch comes from exec.scratch, threads from exec.pool.
//   Shapes and dtypes were checked by `ops` before the call.
// - T is the number of tokens (rows) of a ragged batch. x, y are float32 or bfloat16 (the reference also takes float64);
//   norm weights, biases, cos/sin, statistics and losses are float32 (float64 where x is float64).
// - The order of every sum is a function of the layer's shape alone: never of T, of threads or of how rows are grouped.
//   One row alone gives the same bits as inside any batch, within one instruction set and dtype.
#pragma once

#include <cstdint>

#include "base/cpu_info.h"
#include "tensor/device.h"
#include "tensor/group_coding.h"
#include "tensor/view.h"

namespace pagoda {

// HF's ACT2FN (transformers/activations.py), parameter-free ones.
enum class Activation : uint8_t {
  kNone,          // "linear"
  kSilu,          // "silu", "swish": x * sigmoid(x)
  kGelu,          // "gelu", "gelu_python": x/2 * (1 + erf(x / sqrt 2))
  kGeluTanh,      // "gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_accurate": tanh(sqrt(2/pi) * (x + 0.044715 x^3))
  kGeluFast,      // "gelu_fast": the same formula spelled x * 0.7978845608 * (1 + 0.044715 x^2)
  kGelu10,        // "gelu_10": gelu clipped to [-10, 10]
  kQuickGelu,     // "quick_gelu": x * sigmoid(1.702 x)
  kRelu,          // "relu"
  kRelu2,         // "relu2": relu(x)^2
  kRelu6,         // "relu6"
  kLeakyRelu,     // "leaky_relu": slope 0.01
  kSigmoid,       // "sigmoid"
  kTanh,          // "tanh"
  kMish,          // "mish": x * tanh(softplus(x))
  kHardSwish,     // "hardswish"
  kHardSigmoid,   // hardswish without the factor x
  kLaplace,       // "laplace": 0.5 * (1 + erf((x - 0.707107) / (0.282095 * sqrt 2)))
  kSqrtSoftplus,  // "sqrtsoftplus": sqrt(softplus(x))
};

// What attention computes besides softmax(q k^T) v; everything here is applied inside the kernel.
struct AttentionSpec {
  enum class Mask : uint8_t { kCausal, kFull };  // room: prefix spans, tree parents
  enum class Bias : uint8_t { kNone, kAlibi };   // room: bucket tables
  Mask mask = Mask::kCausal;
  Bias bias = Bias::kNone;
  float scale = 1;                      // of q k^T
  float soft_cap = 0;                   // > 0: cap * tanh(score / cap)
  int64_t window = 0;                   // > 0: the query at position i sees keys j with j > i - window (HF's sliding_window)
  const float* alibi_slopes = nullptr;  // [num_attention_heads]
  const float* sinks = nullptr;         // [num_attention_heads]: one more logit in each row's softmax, without a value
  // Training: the chance in [0, 1) that a weight is dropped (those kept grow by 1 / (1 - dropout)). A draw is a function of the
  // key, the number that the query's row bears, the head and the key's position.
  float dropout = 0;
  uint64_t dropout_key = 0;
  const uint64_t* dropout_rows = nullptr;  // [T] numbers of rows
};

// Key blocks begin at absolute multiples of this many positions, in dense, chunked, paged and split-key attention alike.
// Within a block: scores, their maximum m, p = exp(score - m), l = sum p, a = sum p v, each from zero and in key order.
// Blocks are merged into the row in ascending order: M' = max(M, m); L = L exp(M - M') + l exp(m - M'); A likewise.
constexpr int64_t kKeyBlock = 128;
// Tokens of one page: a divisor of kKeyBlock.
constexpr int64_t kPageTokens = 16;

// The query rows of a ragged batch: sequence s owns rows [starts[s], starts[s + 1]).
struct RaggedRows {
  int64_t count = 0;                // sequences
  const int32_t* starts = nullptr;  // [count + 1], starts[0] = 0
};

// One layer's pages of keys and values. A page holds kPageTokens tokens of that layer; its bytes are known only to
// cache_write, attention_paged, copy_page, export_page and import_page. Page p lies at
// base + (p / pages_per_slab) * slab_bytes + (p % pages_per_slab) * page_bytes + layer_offset; page_bytes covers all layers.
struct KvPages {
  uint8_t* base = nullptr;
  int64_t slab_bytes = 0;
  int64_t pages_per_slab = 1;
  int64_t page_bytes = 0;
  int64_t layer_offset = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;    // of keys
  int64_t v_head_dim = 0;  // of values
  // float32 or bfloat16 elements; or int8 codes of what is written, with a float32 scale for a token's key of a head and one
  // for its value: code * scale is within half a scale = the row's largest absolute value / 254 of what was written.
  DType dtype = DType::kFloat32;

  uint8_t* page(int64_t p) const {
    return base + (p / pages_per_slab) * slab_bytes + (p % pages_per_slab) * page_bytes + layer_offset;
  }
};

// Where the keys of each sequence lie: its first context_lengths[s] positions, its new queries being the last of them.
struct PagedRows {
  RaggedRows queries;
  const int32_t* context_lengths = nullptr;  // [count], the new tokens counted
  const int32_t* block_tables = nullptr;     // [count, table_stride]: page of positions [16 i, 16 i + 16); -1 where freed
  int64_t table_stride = 0;                  // (a sliding window no longer reads it)
};

// How a weight that takes part in products is laid out. N output rows ("columns" of the product), K inputs; all padded with
// zeros to whole tiles; panels follow each other, so that parameters joined along N need no second layout.
enum class WeightFormat : uint8_t {
  // [N/16][K][16] float32: panel, input, output within the panel.
  kFloat32Panels,
  // [N/16][K/2][16][2] bfloat16, K padded to a multiple of 32: 32 inputs of a panel are one AMX tile (16 rows of 64 bytes),
  // a row is one operand of vdpbf16ps, and two AVX2 registers of (even, odd) pairs.
  kBf16Pairs,
  // Codes in groups along K with scales (PackedView::groups); a panel is its scales, then its codes, each a multiple of 64
  // bytes (cpu/groups.h). Inputs of 8 bits lie [K/4][16][4]; of 4 bits [K/8][16][2][4]: input 8 c + 2 q + j is nibble q of
  // 16-bit word j, so that one shift gives a pair of inputs for all outputs.
  kGroups,
  // int8 with a scale an output, for products whose activations are made int8 by token (cpu/int8.h). [N/16][K/4][16][4], K
  // padded to a multiple of 64: a tile again, and an operand of vpdpbusd.
  kInt8Rows,
};

struct PackedView {
  const void* data = nullptr;  // 64-byte aligned
  WeightFormat format = WeightFormat::kFloat32Panels;
  int64_t n = 0, k = 0;     // logical sizes
  GroupCoding groups = {};  // kGroups: K is a multiple of their size (of the super-block)
};

// Applied to a product's float32 result before it is rounded to y's dtype: y = activation(x w^T + bias) + residual.
struct Epilogue {
  View bias;  // [N] float32, or none
  Activation activation = Activation::kNone;
  View residual;  // [M, N] of y's dtype, rows may be strided, may be y itself; or none
  // The first N/2 outputs are gates of the others: y [M, N/2] = activation(gate) * up, gate and up being rounded to y's dtype
  // before, so that the bits are those of two products and gated_activation. No residual. Only where ProductKernel::gated_rows
  // allows it.
  bool gated = false;
};

// One way to compute y[M, N] = x[M, K] w^T. x: float32 or bfloat16, rows may be strided; y: float32 or bfloat16, rows may be
// strided. Rows are independent: see the rule on sums above.
struct ProductKernel {
  const char* name = nullptr;
  Isa isa = Isa::kReference;
  bool (*supports)(WeightFormat format, DType x, int64_t rows) = nullptr;
  void (*run)(const Exec& exec, View x, const PackedView& w, const Epilogue& epilogue, View y) = nullptr;
  int64_t gated_rows = 0;  // rows from which Epilogue::gated is taken for bfloat16 y and N a multiple of 32; 0: never
};

enum class RotaryStyle : uint8_t { kHalf, kInterleaved };  // pairs (i, i + d/2) as in LLaMA; (2i, 2i + 1) as in GPT-J

struct AdamStep {  // torch.optim.AdamW; with `decoupled` off torch.optim.Adam, whose decay is part of the gradient
  float learning_rate, beta1, beta2, epsilon, weight_decay;
  int64_t step;              // 1 for the first
  float gradient_scale = 1;  // of the gradient as it is read: clipping
  bool decoupled = true;
};

// Dropout of activations. Whether an element is dropped is a function of the seed, the number that its row bears, the site and
// its column.
struct DropoutSpec {
  float p = 0;  // in (0, 1): the chance that an element is dropped, in steps of 2^-24; those kept grow by 1 / (1 - p)
  uint64_t seed = 0;
  const uint64_t* rows = nullptr;  // [T] numbers of rows
  uint32_t site = 0;
};

// A typed entry that remembers which instruction set filled it.
template <class Signature>
struct Kernel {
  Signature* function = nullptr;
  Isa isa = Isa::kReference;
  template <class... Args>
  void operator()(const Args&... args) const {
    function(args...);
  }
  explicit operator bool() const { return function != nullptr; }
};

// X(name, signature). Optional views are null where a comment says "opt".
#define PAGODA_KERNELS(X)                                                                                                      \
  /* y = x in y's dtype; rank 1 or 2, rows may be strided */                                                                   \
  X(cast, void(const Exec&, View x, View y))                                                                                   \
  /* y = a + b */                                                                                                              \
  X(add, void(const Exec&, View a, View b, View y))                                                                            \
  /* sum = x + delta (opt; sum may be x), y = sum / rms(sum) * weight; rstd [T] (opt). Without delta, sum is ignored. */       \
  X(rms_norm, void(const Exec&, View x, View delta, View sum, View weight, float eps, View y, View rstd))                      \
  /* dx = gradient; dweight += */                                                                                              \
  X(rms_norm_backward, void(const Exec&, View x, View weight, View rstd, View dy, View dx, View dweight))                      \
  /* as rms_norm, with mean, variance and bias (opt); mean, rstd [T] (opt) */                                                  \
  X(layer_norm,                                                                                                                \
    void(const Exec&, View x, View delta, View sum, View weight, View bias, float eps, View y, View mean, View rstd))          \
  X(layer_norm_backward,                                                                                                       \
    void(const Exec&, View x, View weight, View mean, View rstd, View dy, View dx, View dweight, View dbias))                  \
  /* x [T, heads, head_dim] in place, rows strided; cos, sin [T, r] float32 rotate the first 2 r of head_dim; inverse turns    \
     the other way (backward) */                                                                                               \
  X(rotary, void(const Exec&, View x, View cos, View sin, RotaryStyle style, bool inverse))                                    \
  X(activation, void(const Exec&, Activation kind, View x, View y))                                                            \
  X(activation_backward, void(const Exec&, Activation kind, View x, View dy, View dx))                                         \
  /* y = activation(gate) * up; gate and up rows may be strided (halves of one product) */                                     \
  X(gated_activation, void(const Exec&, Activation kind, View gate, View up, View y))                                          \
  X(gated_activation_backward, void(const Exec&, Activation kind, View gate, View up, View dy, View dgate, View dup))          \
  /* y [T, H] = x with elements dropped; rows may be strided, y may be x. The gradient of x is that of y, dropped likewise. */ \
  X(dropout, void(const Exec&, const DropoutSpec& spec, View x, View y))                                                       \
  /* y[t] = table[ids[t]]; ids int32 */                                                                                        \
  X(embedding, void(const Exec&, View table, View ids, View y))                                                                \
  /* dtable[ids[t]] += dy[t], in order of t */                                                                                 \
  X(embedding_backward, void(const Exec&, View ids, View dy, View dtable))                                                     \
  /* rows of x [T, V] */                                                                                                       \
  X(softmax, void(const Exec&, View x, View y))                                                                                \
  /* losses[t] = -log softmax(logits[t])[labels[t]], 0 where labels[t] < 0; labels int64. dlogits (opt) = scale *              \
     (softmax - one-hot), 0 where no label */                                                                                  \
  X(cross_entropy, void(const Exec&, View logits, View labels, View losses, double scale, View dlogits))                       \
  /* out [T, Hq, Dv], lse [T, Hq] float32 (opt) of q [T, Hq, D], k [T, Hkv, D], v [T, Hkv, Dv]; rows strided. Query row r of   \
     a sequence sits at its position r. */                                                                                     \
  X(attention,                                                                                                                 \
    void(const Exec&, const AttentionSpec& spec, const RaggedRows& rows, View q, View k, View v, View out, View lse))          \
  /* out under spec.dropout, given the lse that `attention` gave */                                                            \
  X(attention_dropout,                                                                                                         \
    void(const Exec&, const AttentionSpec& spec, const RaggedRows& rows, View q, View k, View v, View out, View lse))          \
  X(attention_backward, void(const Exec&, const AttentionSpec& spec, const RaggedRows& rows, View q, View k, View v, View out, \
                             View lse, View dout, View dq, View dk, View dv))                                                  \
  /* slots [T] int64: page * kPageTokens + offset; negative: not stored */                                                     \
  X(cache_write, void(const Exec&, const KvPages& pages, View k, View v, View slots))                                          \
  /* as attention, keys and values read from pages; bit-equal to the dense entry */                                            \
  X(attention_paged,                                                                                                           \
    void(const Exec&, const AttentionSpec& spec, const PagedRows& rows, const KvPages& pages, View q, View out))               \
  /* c [m, n] = op(a) op(b) (+ c if accumulate) of float32 or float64 matrices, rows may be strided; op transposes if asked.   \
     The products of training on unpacked weights. */                                                                          \
  X(gemm, void(const Exec&, View a, bool transpose_a, View b, bool transpose_b, bool accumulate, View c))                      \
  /* dbias[n] += sum over rows of dy[:, n] */                                                                                  \
  X(bias_backward, void(const Exec&, View dy, View dbias))                                                                     \
  /* w [rows, K] into output rows [n_begin, n_begin + rows) of a packed weight whose bytes were zeroed; w float32, bfloat16    \
     or float16, rows may be strided */                                                                                        \
  X(pack, void(const Exec&, View w, const PackedView& into, int64_t n_begin))                                                  \
  /* the same from w [K, rows], float32 or bfloat16, into kBf16Pairs bytes that need not be zeroed; n_begin is a multiple of   \
   * 16 */                                                                                                                     \
  X(pack_turned, void(const Exec&, View w, const PackedView& into, int64_t n_begin))                                           \
  /* y [n, m] = x [m, n] turned, both bfloat16; rows may be strided */                                                         \
  X(turn, void(const Exec&, View x, View y))                                                                                   \
  /* the exact inverse, in the format's own element type (codes: float32) */                                                   \
  X(unpack, void(const Exec&, const PackedView& from, int64_t n_begin, View w))                                                \
  /* y[t] = row ids[t] of a packed weight (tied embeddings); ids int32 */                                                      \
  X(packed_embedding, void(const Exec&, const PackedView& table, View ids, View y))                                            \
  /* one pass over float32 parameter [R, C] or [n], gradient, first and second moment, contiguous, that also renews the        \
     parameter's packed bfloat16 copies where they are given (data null: none): `upright` as pack makes it (n = R, k = C),     \
     `turned` as pack_turned does (n = C, k = R) */                                                                            \
  X(adam, void(const Exec&, const AdamStep& step, View parameter, View gradient, View m, View v, const PackedView& upright,    \
               const PackedView& turned))

struct KernelTable {
#define PAGODA_KERNEL_MEMBER(name, ...) Kernel<__VA_ARGS__> name;
  PAGODA_KERNELS(PAGODA_KERNEL_MEMBER)
#undef PAGODA_KERNEL_MEMBER

  static constexpr int kMaxProducts = 32;
  ProductKernel products[kMaxProducts];  // later ones are preferred
  int num_products = 0;
  Isa isa = Isa::kReference;  // the highest filler that ran

  // The last candidate that supports the case, or null. Candidates for one (format, dtype) must be bit-equal over all row
  // counts, or be chosen by a rule that does not look at rows.
  const ProductKernel* find_product(WeightFormat format, DType x, int64_t rows) const {
    for (int i = num_products; i-- > 0;) {
      if (products[i].supports(format, x, rows)) return &products[i];
    }
    return nullptr;
  }
  void add_product(const ProductKernel& kernel) {
    if (num_products < kMaxProducts) products[num_products++] = kernel;
  }
};

// Fillers, lowest first; each overrides what it has.
void fill_reference(KernelTable& table);
void fill_portable(KernelTable& table);  // Highway without instruction sets beyond the baseline
void fill_avx2(KernelTable& table);
void fill_avx512(KernelTable& table);
void fill_avx512_bf16(KernelTable& table);  // needs an AVX-512-BF16 machine to run
void fill_amx(KernelTable& table);          // needs tile permission to run
// All fillers up to `isa`: the table of a CPU.
void fill_cpu(KernelTable& table, Isa isa);

// Bytes of one layer's part of a page, and of a packed weight (both multiples of 64).
int64_t page_bytes(int64_t num_key_value_heads, int64_t head_dim, int64_t v_head_dim, DType dtype);
int64_t packed_bytes(WeightFormat format, int64_t n, int64_t k);  // kFloat32Panels, kBf16Pairs
int64_t packed_bytes(const PackedView& shape);                    // any format; data is not looked at

// Rows into output rows [n_begin, n_begin + rows.rows) of a weight whose bytes were zeroed: kGroups of the same coding, or
// kInt8Rows of codes of 8 bits whose groups of a row have one scale and no minimum. Two threads must not write one panel at a
// time.
void pack_groups(const GroupRows& rows, const PackedView& into, int64_t n_begin);

// Pages as plain rows, for copies and for the machine-independent wire form: [kPageTokens][heads][head_dim] of keys, the same
// of values; int8: after each, its scales [kPageTokens][heads] of float32.
void copy_page(const KvPages& pages, int64_t from, int64_t to);
void export_page(const KvPages& pages, int64_t page, void* keys, void* values);
void import_page(const KvPages& pages, int64_t page, const void* keys, const void* values);

float apply_activation(Activation kind, float x);
double apply_activation(Activation kind, double x);
double activation_derivative(Activation kind, double x);

}  // namespace pagoda
