// Attention with bfloat16 products: one item over an engine of attention_engines-inl.h. Pages of int8 become bfloat16
// block by block.
//
// Included by attention.cc inside the namespace of a target and, for native engines, inside their target region, so it has no
// includes, namespaces or lambdas of its own.
//
// Masked tokens: instructions take values in pairs or in tiles of a page, so a masked token meets a weight of 0. That is
// nothing if its value is finite. Values that no row of an item sees are zeroed in a copy of their page; a block with other
// values that are not finite is multiplied row by row, each row with its masked values zeroed.

template <class Engine>
struct HalfRun : AttentionItemBase {
  const AttentionItem* next;  // what this thread is likely to do next, or null

  static constexpr int kRows = Engine::kRows;

  int64_t value_slots() const { return call.layout.value_dim / 16; }
  int64_t key_elements() const { return call.layout.key_dim * kPageTokens; }
  // What a block's scores wait for: its keys; codes are all widened before.
  int64_t ahead_bytes() const { return call.layout.codes ? call.layout.head_bytes() : key_elements() * 2; }

  void pack_queries() const {
    for (int64_t tile = 0; tile < item.rows; tile += kRows) {
      const int rows = static_cast<int>(std::min<int64_t>(kRows, item.rows - tile));
      const BFloat16* from[kRows];
      for (int r = 0; r < rows; ++r) {
        from[r] = call.q.as<BFloat16>() + (sequence.first_row + query(tile + r)) * call.q.strides[0] +
                  head(tile + r) * call.q.strides[1];
      }
      Engine::pack_query(from, rows, call.pages.head_dim,
                         scratch.half_query + tile / kRows * Engine::query_elements(call.pages.head_dim));
    }
  }

  // What row `row` of the item sees of a block.
  VisibleKeys within(int64_t row, int64_t block_start) const {
    const VisibleKeys& keys = scratch.visible[row];
    return {std::clamp<int64_t>(keys.begin - block_start, 0, kKeyBlock),
            std::clamp<int64_t>(keys.end - block_start, 0, kKeyBlock)};
  }

  HalfBlock prepare(int64_t block) const {
    HalfBlock result = {};
    const int64_t start = block * kKeyBlock, key_dim = call.pages.head_dim;
    const VisibleKeys first = within(0, start), last = within(item.rows - 1, start);
    const int64_t begin = first.begin, end = last.end;  // what any row of the item sees
    find_next(block, &result);
    if (begin >= end) return result;
    result.uniform = last.begin <= begin && first.end >= end;
    result.finite = true;
    for (int64_t p = begin / kPageTokens; p * kPageTokens < end; ++p) {
      const uint8_t* page = call.pages.page(sequence.table[block * kBlockPages + p]);
      const int64_t page_begin = std::max<int64_t>(0, begin - p * kPageTokens);
      const int64_t page_end = std::min<int64_t>(kPageTokens, end - p * kPageTokens);
      if (call.layout.codes) {
        widen(reinterpret_cast<const int8_t*>(page), p, page_begin, page_end, &result);
      } else {
        const auto* data = reinterpret_cast<const BFloat16*>(page);
        result.keys[p] = data + call.layout.key(item.kv_head, 0, 0);
        result.values[p] = data + call.layout.value(item.kv_head, 0, 0);
        if (page_begin % Engine::kValueTokens != 0 || page_end % Engine::kValueTokens != 0) {
          BFloat16* copy = scratch.values + p * value_slots() * kPageSlot;
          copy_values(result.values[p], value_slots(), page_begin, page_end, copy);
          result.values[p] = copy;
        }
      }
      if (!result.uniform) result.finite = result.finite && all_finite(result.values[p], value_slots() * kPageSlot);
      if (Engine::kKeyTails && key_dim % 32 != 0) {
        const int64_t elements = key_dim % 32 * kPageTokens + (key_dim % 2) * kPageTokens;
        BFloat16* tail = scratch.key_tails + p * 512;
        std::memset(static_cast<void*>(tail), 0, 512 * sizeof(BFloat16));
        std::memcpy(static_cast<void*>(tail), result.keys[p] + key_dim / 32 * 512,
                    static_cast<size_t>(elements) * sizeof(BFloat16));
      }
    }
    return result;
  }

  // Page p of a block out of codes.
  void widen(const int8_t* page, int64_t p, int64_t begin, int64_t end, HalfBlock* result) const {
    BFloat16 *keys = scratch.keys + p * key_elements(), *values = scratch.values + p * value_slots() * kPageSlot;
    widen_codes<typename Engine::Instructions>(page + call.layout.key(item.kv_head, 0, 0),
                                               page + call.layout.value(item.kv_head, 0, 0),
                                               reinterpret_cast<const float*>(page + call.layout.scales(item.kv_head)),
                                               call.layout.key_dim, call.layout.value_dim, keys, values);
    if (begin > 0 || end < kPageTokens) clear_values(values, value_slots(), begin, end);
    result->keys[p] = keys;
    result->values[p] = values;
  }

  // Few rows wait for memory: what the scores of the block that follows need, in this item or the next.
  void find_next(int64_t block, HalfBlock* result) const {
    if (item.rows > kRows) return;
    const AttentionItem* of = &item;
    if (++block == item.last_block) {
      if (next == nullptr) return;
      of = next;
      block = next->first_block;
    }
    const AttentionSequence& owner = call.sequences[of->sequence];
    for (int64_t p = 0; p < kBlockPages; ++p) {
      const int64_t page = block * kBlockPages + p;
      if (page * kPageTokens >= owner.context || owner.table[page] < 0) continue;
      result->ahead[p] = reinterpret_cast<const char*>(call.pages.page(owner.table[page])) +
                         call.layout.key(of->kv_head, 0, 0) * call.layout.element_bytes;
    }
  }

  // Caps and biases a row's scores, which are then scaled.
  HWY_NOINLINE void shape(int64_t row, VisibleKeys seen, int64_t block_start, float* scores) const {
    const float slope = call.spec.bias == AttentionSpec::Bias::kAlibi ? call.spec.alibi_slopes[head(row)] : 0.0f;
    shape_scores(call.spec, {seen.begin, seen.end, position(row), slope}, block_start, scores);
  }

  // Tile `tile` over a block: into scratch.block, maxima and totals.
  void attend(Engine& engine, int64_t tile, int64_t block_start, const HalfBlock& block, float* maxima, float* totals) const {
    const int rows = static_cast<int>(std::min<int64_t>(kRows, item.rows - tile));
    VisibleKeys seen[kRows];
    int64_t begin = kKeyBlock, end = 0;
    for (int r = 0; r < rows; ++r) {
      seen[r] = within(tile + r, block_start);
      maxima[r] = kMinusInfinity;
      totals[r] = 0;
      if (seen[r].begin >= seen[r].end) continue;
      begin = std::min(begin, seen[r].begin);
      end = std::max(end, seen[r].end);
    }
    if (begin >= end) return;
    engine.scores(scratch.half_query + tile / kRows * Engine::query_elements(call.pages.head_dim), rows, block,
                  scratch.key_tails, call.pages.head_dim, static_cast<int>(begin / kPageTokens),
                  static_cast<int>((end + kPageTokens - 1) / kPageTokens), scratch.scores);
    const bool shaped = call.spec.soft_cap > 0 || call.spec.bias != AttentionSpec::Bias::kNone || !(call.spec.scale > 0);
    const float scale = shaped ? 1.0f : call.spec.scale;
    for (int r = 0; r < rows; ++r) {
      BFloat16* weights = scratch.weights + r * kKeyBlock;
      float* scores = scratch.scores + r * kKeyBlock;
      if (seen[r].begin >= seen[r].end) {
        std::memset(static_cast<void*>(weights), 0, kKeyBlock * sizeof(BFloat16));
        continue;
      }
      if (shaped) shape(tile + r, seen[r], block_start, scores);
      weigh_scores_half<typename Engine::Instructions>(scores, seen[r].begin, seen[r].end, scale, weights, maxima + r,
                                                       totals + r);
    }
    if (block.finite) {
      engine.values(scratch.weights, rows, block, block.values, ahead_bytes(), value_slots(), begin, end, scratch.block,
                    call.row_floats);
      return;
    }
    attend_row_by_row(engine, seen, rows, block);
  }

  // Row r's values go through the first row of the engine, which sees no masked value.
  HWY_NOINLINE void attend_row_by_row(Engine& engine, const VisibleKeys* seen, int rows, const HalfBlock& block) const {
    for (int r = 0; r < rows; ++r) {
      if (seen[r].begin >= seen[r].end) continue;
      const BFloat16* own[kBlockPages] = {};
      for (int64_t p = seen[r].begin / kPageTokens; p * kPageTokens < seen[r].end; ++p) {
        BFloat16* copy = scratch.row_values + p * value_slots() * kPageSlot;
        copy_values(block.values[p], value_slots(), std::max<int64_t>(0, seen[r].begin - p * kPageTokens),
                    std::min<int64_t>(kPageTokens, seen[r].end - p * kPageTokens), copy);
        own[p] = copy;
      }
      if (r > 0) {
        std::memcpy(static_cast<void*>(scratch.weights), scratch.weights + r * kKeyBlock, kKeyBlock * sizeof(BFloat16));
      }
      engine.values(scratch.weights, 1, block, own, ahead_bytes(), value_slots(), seen[r].begin, seen[r].end, scratch.row_sums,
                    call.row_floats);
      std::copy(scratch.row_sums, scratch.row_sums + call.row_floats, scratch.block + r * call.row_floats);
    }
  }

  // As merge, from arrays of whole vectors.
  void merge_rows(int64_t tile, int rows, const float* maxima, const float* totals) const {
    const FloatTag d;
    for (int r = 0; r < rows; r += kMergeRows) {
      float *running_maxima = scratch.maxima + tile + r, *running_totals = scratch.totals + tile + r;
      const MergeLanes lanes = {hn::LoadU(d, running_maxima), hn::LoadU(d, running_totals), hn::LoadU(d, maxima + r),
                                hn::LoadU(d, totals + r)};
      merge_lanes(rows - r < kMergeRows ? rows - r : kMergeRows, lanes, running_maxima, running_totals,
                  scratch.sums + (tile + r) * call.row_floats, maxima + r, totals + r, scratch.block + r * call.row_floats,
                  call.row_floats);
    }
  }

  void run() const {
    pack_queries();
    for (int64_t row = 0; row < item.rows;) {  // the rows of one query see the same
      const VisibleKeys keys = visible_keys(call.spec, position(row), sequence.context);
      const int64_t same = std::min(item.rows, row + call.group - (item.first_row + row) % call.group);
      for (; row < same; ++row) scratch.visible[row] = keys;
    }
    if (item.split == nullptr) start();
    {
      Engine engine(item.rows);
      for (int64_t block = item.first_block; block < item.last_block; ++block) {
        const HalfBlock prepared = prepare(block);
        for (int64_t tile = 0; tile < item.rows; tile += kRows) {
          const int rows = static_cast<int>(std::min<int64_t>(kRows, item.rows - tile));
          HWY_ALIGN float maxima[kHalfTileRows], totals[kHalfTileRows];
          attend(engine, tile, block * kKeyBlock, prepared, maxima, totals);
          if (item.split == nullptr) {
            merge_rows(tile, rows, maxima, totals);
            continue;
          }
          const int64_t part = (block - item.split->first_block) * item.rows + tile;
          std::copy(maxima, maxima + rows, item.split->maxima + part);
          std::copy(totals, totals + rows, item.split->totals + part);
          std::copy(scratch.block, scratch.block + rows * call.row_floats, item.split->sums + part * call.row_floats);
        }
      }
    }
    if (item.split == nullptr) return finish();
    end_split(kRows);
  }
};

// Queries of bfloat16 over pages of bfloat16 or int8 by an engine; anything else by float32 tiles.
template <class Engine>
void attend_halves(const Exec& exec, const AttentionSpec& spec, const KvPages& pages, const AttentionSequence* sequences,
                   int64_t count, View q, View out, View lse) {
  if ((pages.dtype != DType::kBFloat16 && pages.dtype != DType::kInt8) || q.dtype != DType::kBFloat16) {
    return attend_floats(exec, spec, pages, sequences, count, q, out, lse);
  }
  const PageLayout layout(pages.head_dim, pages.v_head_dim, pages.dtype);
  const AttentionCall call = {spec, pages, layout, sequences, q.dims[1] / pages.num_key_value_heads, layout.value_dim,
                              q,    out,   lse};
  const AttentionShape shape = {call.group,    pages.num_key_value_heads, pages.head_dim,      pages.v_head_dim,
                                Engine::kRows, call.row_floats,           layout.element_bytes};
  const AttentionPlan plan = plan_attention(exec, spec, shape, sequences, count);
  if (plan.count == 0) return;
  const int64_t threads = plan.fork ? exec.pool->num_threads() : 1;
  AttentionScratch* scratch = exec.scratch->allocate_array<AttentionScratch>(threads);
  const int64_t tiles = (plan.max_rows + Engine::kRows - 1) / Engine::kRows;
  for (int64_t i = 0; i < threads; ++i) {
    scratch[i] = {};
    scratch[i].scores = exec.scratch->allocate_array<float>(kHalfTileRows * kKeyBlock);
    scratch[i].block = exec.scratch->allocate_array<float>(kHalfTileRows * call.row_floats);
    scratch[i].row_sums = exec.scratch->allocate_array<float>(kHalfTileRows * call.row_floats);
    scratch[i].sums = exec.scratch->allocate_array<float>(plan.max_rows * call.row_floats);
    scratch[i].maxima = exec.scratch->allocate_array<float>(plan.max_rows + kHalfTileRows);  // whole vectors
    scratch[i].totals = exec.scratch->allocate_array<float>(plan.max_rows + kHalfTileRows);
    scratch[i].half_query = exec.scratch->allocate_array<BFloat16>(tiles * Engine::query_elements(pages.head_dim));
    scratch[i].weights = exec.scratch->allocate_array<BFloat16>(kHalfTileRows * kKeyBlock);
    std::fill(scratch[i].weights, scratch[i].weights + kHalfTileRows * kKeyBlock, BFloat16());
    if (layout.codes) scratch[i].keys = exec.scratch->allocate_array<BFloat16>(layout.key_dim * kKeyBlock);
    scratch[i].values = exec.scratch->allocate_array<BFloat16>(layout.value_dim * kKeyBlock);
    scratch[i].row_values = exec.scratch->allocate_array<BFloat16>(layout.value_dim * kKeyBlock);
    scratch[i].key_tails = exec.scratch->allocate_array<BFloat16>(kBlockPages * 512);
    scratch[i].visible = exec.scratch->allocate_array<VisibleKeys>(plan.max_rows);
  }
  exec.pool->parallel_for(plan.count, plan.fork ? 1 : plan.count, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i) {
      const AttentionItem& item = plan.items[i];
      HalfRun<Engine>{{call, item, scratch[thread], sequences[item.sequence], Slots(pages.v_head_dim, true)},
                      i + 1 < plan.count ? &item + 1 : nullptr}
          .run();
    }
  });
}
