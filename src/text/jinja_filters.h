// Filters that live in another file than the table of filters.
#pragma once

#include "text/jinja_value.h"

namespace pagoda::jinja {

Value do_attr(Interp& interp, const Value& value, CallArgs& args);
Value do_batch(Interp& interp, const Value& value, CallArgs& args);
Value do_dictsort(Interp& interp, const Value& value, CallArgs& args);
Value do_first(Interp& interp, const Value& value, CallArgs& args);
Value do_groupby(Interp& interp, const Value& value, CallArgs& args);
Value do_items(Interp& interp, const Value& value, CallArgs& args);
Value do_join(Interp& interp, const Value& value, CallArgs& args);
Value do_last(Interp& interp, const Value& value, CallArgs& args);
Value do_list(Interp& interp, const Value& value, CallArgs& args);
Value do_map(Interp& interp, const Value& value, CallArgs& args);
Value do_max(Interp& interp, const Value& value, CallArgs& args);
Value do_min(Interp& interp, const Value& value, CallArgs& args);
Value do_pprint(Interp& interp, const Value& value, CallArgs& args);
Value do_reject(Interp& interp, const Value& value, CallArgs& args);
Value do_rejectattr(Interp& interp, const Value& value, CallArgs& args);
Value do_reverse(Interp& interp, const Value& value, CallArgs& args);
Value do_select(Interp& interp, const Value& value, CallArgs& args);
Value do_selectattr(Interp& interp, const Value& value, CallArgs& args);
Value do_slice(Interp& interp, const Value& value, CallArgs& args);
Value do_sort(Interp& interp, const Value& value, CallArgs& args);
Value do_sum(Interp& interp, const Value& value, CallArgs& args);
Value do_unique(Interp& interp, const Value& value, CallArgs& args);

double to_float(Interp& interp, const Value& value);  // Python's float(value)

}  // namespace pagoda::jinja
