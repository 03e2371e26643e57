// date, time and date-time after RFC 3339 (years 1000 to 9999, the days that each month has), durations after ISO 8601, uuid
// after RFC 9562, e-mail and host names in ASCII, addresses after RFC 4291 and 2673, URIs with "://" after RFC 3986.
#include "generate/grammar/json_formats.h"

namespace pagoda::grammar {

namespace {

#define PAGODA_DATE                                                                             \
  "([1-9][0-9]{3}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)" \
  "|02-(0[1-9]|1[0-9]|2[0-8]))|([1-9][0-9](0[48]|[2468][048]|[13579][26])|([2468][048]|[13579][26])00)-02-29)"
#define PAGODA_TIME "(([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9]))"
#define PAGODA_BYTE "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define PAGODA_IPV4 "(" PAGODA_BYTE "(\\." PAGODA_BYTE "){3})"
#define PAGODA_LABEL "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#define PAGODA_HOST "(" PAGODA_LABEL "(\\." PAGODA_LABEL "){0,2})"
#define PAGODA_H16 "[0-9A-Fa-f]{1,4}"
#define PAGODA_IPV6                                                                                                \
  "((" PAGODA_H16 ":){7}" PAGODA_H16 "|(" PAGODA_H16 ":){1,7}:|(" PAGODA_H16 ":){1,6}:" PAGODA_H16 "|(" PAGODA_H16 \
  ":){1,5}(:" PAGODA_H16 "){1,2}|(" PAGODA_H16 ":){1,4}(:" PAGODA_H16 "){1,3}|(" PAGODA_H16 ":){1,3}(:" PAGODA_H16 \
  "){1,4}|(" PAGODA_H16 ":){1,2}(:" PAGODA_H16 "){1,5}|" PAGODA_H16 ":(:" PAGODA_H16 "){1,6}|:((:" PAGODA_H16 "){1,7}|:))"
#define PAGODA_ATOM "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
#define PAGODA_PCHAR "([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"

constexpr struct {
  std::string_view name, pattern;
} kFormats[] = {
    {"date", PAGODA_DATE},
    {"time", PAGODA_TIME},
    {"date-time", PAGODA_DATE "T" PAGODA_TIME},
    {"duration",
     "P(([0-9]{1,9}D|[0-9]{1,9}M([0-9]{1,9}D)?|[0-9]{1,9}Y([0-9]{1,9}M([0-9]{1,9}D)?)?)(T([0-9]{1,9}S|[0-9]{1,9}M([0-9]{1,9}S)?"
     "|[0-9]{1,9}H([0-9]{1,9}M([0-9]{1,9}S)?)?))?|T([0-9]{1,9}S|[0-9]{1,9}M([0-9]{1,9}S)?|[0-9]{1,9}H([0-9]{1,9}M([0-9]{1,9}S)?"
     ")?)"
     "|[0-9]{1,9}W)"},
    {"uuid", "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"},
    {"email", PAGODA_ATOM "{1,32}(\\." PAGODA_ATOM "{1,15}){0,2}@" PAGODA_LABEL "(\\." PAGODA_LABEL "){0,2}\\.[A-Za-z]{2,24}"},
    {"hostname", PAGODA_HOST},
    {"ipv4", PAGODA_IPV4},
    {"ipv6", PAGODA_IPV6},
    {"uri", "[A-Za-z][A-Za-z0-9+.-]{0,31}://(" PAGODA_HOST "|" PAGODA_IPV4 "|\\[" PAGODA_IPV6
            "\\])(:[0-9]{1,5})?(/" PAGODA_PCHAR "*)*(\\?(" PAGODA_PCHAR "|[/?])*)?(#(" PAGODA_PCHAR "|[/?])*)?"},
};

}  // namespace

std::string_view format_pattern(std::string_view format) {
  for (const auto& known : kFormats) {
    if (known.name == format) return known.pattern;
  }
  return {};
}

}  // namespace pagoda::grammar
