// Templates: parsing and rendering.
#include "text/jinja.h"

#include "base/utf8.h"
#include "text/jinja_ast.h"
#include "text/jinja_interp.h"
#include "text/jinja_parser.h"
#include "text/jinja_resolve.h"

namespace pagoda::jinja {

namespace {
// Real templates are a hundredth of this; a syntax tree takes up to 200 times the bytes of its source.
constexpr size_t kMaxSourceBytes = size_t{1} << 20;
}  // namespace

Template::Template(std::unique_ptr<TemplateCode> code, std::string source)
    : code_(std::move(code)), source_(std::move(source)) {}
Template::~Template() = default;

std::shared_ptr<const Template> Template::parse(std::string_view source, const Limits& limits) {
  if (source.size() > kMaxSourceBytes) {
    invalid("template", "template too large: got {} bytes, need at most {}", source.size(), kMaxSourceBytes);
  }
  if (const size_t at = utf8_invalid_at(source); at != std::string_view::npos) {
    invalid("template", "not UTF-8: byte 0x{:02x} at offset {}", static_cast<unsigned char>(source[at]), at);
  }
  std::unique_ptr<TemplateCode> code = parse_template(source, limits);
  resolve_template(*code);
  return std::shared_ptr<const Template>(new Template(std::move(code), std::string(source)));
}

std::string Template::render(const Value& context, const RenderOptions& options,
                             std::vector<std::pair<size_t, size_t>>* generation_spans) const {
  return Interp(*code_, context, options, generation_spans).run();
}

Value from_json(const Json& json) {
  switch (json.type()) {
    case Json::Type::kNull: return Value::none();
    case Json::Type::kBool: return Value::boolean(json.as_bool("template"));
    case Json::Type::kInt: return Value::integer(json.as_int("template"));
    case Json::Type::kDouble: return Value::real(json.as_double("template"));
    case Json::Type::kString: return Value::string(json.as_string("template"));
    case Json::Type::kArray: {
      std::vector<Value> items;
      for (const Json& item : json.as_array("template")) items.push_back(from_json(item));
      return Value::list(std::move(items));
    }
    case Json::Type::kObject: {
      std::vector<std::pair<std::string, Value>> items;
      for (const JsonMember& member : json.as_object("template")) items.emplace_back(member.key, from_json(member.value));
      return Value::dict(std::move(items));
    }
  }
  return Value::none();
}

}  // namespace pagoda::jinja
