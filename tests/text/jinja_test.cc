// Chat templates.
#include "text/jinja.h"

#include <gtest/gtest.h>

namespace pagoda::jinja {
TEST(Jinja, Renders) { EXPECT_EQ(Template::parse("a{{ 1 + 1 }}b")->render(Value::dict({})), "a2b"); }
}  // namespace pagoda::jinja
