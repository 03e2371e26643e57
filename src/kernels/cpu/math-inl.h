// Vector loads, rounding stores and elementary functions in float32, for every Highway target.
//
// Each lane is computed from its own input alone, by the same operations wherever it stands: results do not depend on a
// row's neighbours. Coefficients are minimax fits of our own; the largest errors measured stand at each function.

#if defined(PAGODA_KERNELS_CPU_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PAGODA_KERNELS_CPU_MATH_INL_H_
#undef PAGODA_KERNELS_CPU_MATH_INL_H_
#else
#define PAGODA_KERNELS_CPU_MATH_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"
#include "kernels/table.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// D below: a float32 tag. V: its vector.

template <class D>
HWY_INLINE hn::Vec<D> load_float(D d, const float* from) {
  return hn::LoadU(d, from);
}
template <class D>
HWY_INLINE hn::Vec<D> load_float(D d, const BFloat16* from) {
  const hn::Rebind<uint16_t, D> d16;
  const hn::RebindToUnsigned<D> d32;
  const auto bits = hn::LoadU(d16, reinterpret_cast<const uint16_t*>(from));
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(d32, bits)));
}

template <class D>
HWY_INLINE void store_rounded(D d, hn::Vec<D> v, float* to) {
  hn::StoreU(v, d, to);
}
// As bfloat16 in the upper halves, to nearest even; NaN stays NaN (as BFloat16's constructor). The lower halves are not
// cleared.
template <class D>
HWY_INLINE hn::Vec<hn::RebindToUnsigned<D>> round_upper(D /*d*/, hn::Vec<D> v) {
  const hn::RebindToUnsigned<D> d32;
  const auto bits = hn::BitCast(d32, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d32, 1u));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(d32, 0x7FFFu)));
  const auto quiet = hn::Or(bits, hn::Set(d32, 0x400000u));
  const auto nan = hn::RebindMask(d32, hn::Not(hn::Eq(v, v)));  // Ne is ordered on AVX2
  return hn::IfThenElse(nan, quiet, rounded);
}
template <class D>
HWY_INLINE void store_rounded(D d, hn::Vec<D> v, BFloat16* to) {
  const hn::Rebind<uint16_t, D> d16;
  const hn::RebindToSigned<D> i32;
  const auto upper = hn::ShiftRight<16>(round_upper(d, v));
  // Values are below 2^16, so the saturation of the signed source changes nothing.
  hn::StoreU(hn::DemoteTo(d16, hn::BitCast(i32, upper)), d16, reinterpret_cast<uint16_t*>(to));
}

// Two vectors side by side.
template <class D>
HWY_INLINE void store_rounded_pair(D d, hn::Vec<D> a, hn::Vec<D> b, float* to) {
  hn::StoreU(a, d, to);
  hn::StoreU(b, d, to + hn::Lanes(d));
}
template <class D>
HWY_INLINE void store_rounded_pair(D d, hn::Vec<D> a, hn::Vec<D> b, BFloat16* to) {
  const hn::Repartition<uint16_t, D> d16;
  // One store of a whole line where vectors are that long: a line that is written by halves is first read.
  hn::StoreU(hn::ConcatOdd(d16, hn::BitCast(d16, round_upper(d, b)), hn::BitCast(d16, round_upper(d, a))), d16,
             reinterpret_cast<uint16_t*>(to));
}

// Minimum and maximum with a constant that give a NaN of x back (Highway's own differ from target to target).
template <class D>
HWY_INLINE hn::Vec<D> at_least(D d, hn::Vec<D> x, float low) {
  const auto bound = hn::Set(d, low);
  return hn::IfThenElse(hn::Lt(x, bound), bound, x);
}
template <class D>
HWY_INLINE hn::Vec<D> at_most(D d, hn::Vec<D> x, float high) {
  const auto bound = hn::Set(d, high);
  return hn::IfThenElse(hn::Gt(x, bound), bound, x);
}
template <class D>
HWY_INLINE hn::Vec<D> clamp(D d, hn::Vec<D> x, float low, float high) {
  return at_most(d, at_least(d, x, low), high);
}

// 2^n for -126 <= n <= 127; 0 and infinity one beyond.
template <class D, class VI>
HWY_INLINE hn::Vec<D> power_of_two(D d, VI n) {
  return hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(n, hn::Set(hn::RebindToSigned<D>(), 127))));
}

// v 2^n for -252 <= n <= 254 in two factors, so that results below 2^-126 and at 2^128 come out right.
template <class D, class VI>
HWY_INLINE hn::Vec<D> scale_by_power(D d, hn::Vec<D> v, VI n) {
  const auto half = hn::ShiftRight<1>(n);
  return hn::Mul(hn::Mul(v, power_of_two(d, half)), power_of_two(d, hn::Sub(n, half)));
}

// x = n ln 2 + r; returns e^r - 1. x must lie in [-104, 89] (or be NaN).
template <class D, class VI>
HWY_INLINE hn::Vec<D> expm1_reduced(D d, hn::Vec<D> x, VI& n) {
  const auto rounded = hn::Round(hn::Mul(x, hn::Set(d, 1.44269504f)));
  n = hn::ConvertTo(hn::RebindToSigned<D>(), rounded);
  auto r = hn::NegMulAdd(rounded, hn::Set(d, 0.693145752f), x);  // 15 bits of ln 2: the product is exact
  r = hn::NegMulAdd(rounded, hn::Set(d, 1.42860677e-6f), r);
  auto q = hn::MulAdd(hn::Set(d, 1.395059982e-03f), r, hn::Set(d, 8.368954062e-03f));
  q = hn::MulAdd(q, r, hn::Set(d, 4.166620597e-02f));
  q = hn::MulAdd(q, r, hn::Set(d, 1.666651815e-01f));
  q = hn::MulAdd(q, r, hn::Set(d, 0.5f));
  return hn::MulAdd(hn::Mul(q, r), r, r);
}

// e^x for every x, subnormal results and infinities included; within 2 units of the last place.
template <class D>
HWY_INLINE hn::Vec<D> exp_of(D d, hn::Vec<D> x) {
  hn::Vec<hn::RebindToSigned<D>> n;
  const auto p = expm1_reduced(d, clamp(d, x, -104.0f, 89.0f), n);
  return scale_by_power(d, hn::Add(p, hn::Set(d, 1.0f)), n);
}

// e^x for x <= 0 (or NaN): 0 below -87.3. One multiplication less than exp_of, for softmax.
template <class D>
HWY_INLINE hn::Vec<D> exp_of_negative(D d, hn::Vec<D> x) {
  hn::Vec<hn::RebindToSigned<D>> n;
  const auto p = expm1_reduced(d, at_least(d, x, -88.0f), n);
  const auto result = hn::Mul(hn::Add(p, hn::Set(d, 1.0f)), power_of_two(d, n));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -87.3f)), result);
}

// e^x - 1 for x <= 0 (or NaN), without cancellation near 0.
template <class D>
HWY_INLINE hn::Vec<D> expm1_of_negative(D d, hn::Vec<D> x) {
  hn::Vec<hn::RebindToSigned<D>> n;
  const auto p = expm1_reduced(d, at_least(d, x, -87.0f), n);
  const auto scale = power_of_two(d, n);
  return hn::MulAdd(p, scale, hn::Sub(scale, hn::Set(d, 1.0f)));
}

template <class D>
HWY_INLINE hn::Vec<D> tanh_of(D d, hn::Vec<D> x) {
  const auto t = expm1_of_negative(d, hn::Mul(hn::Set(d, -2.0f), hn::Abs(x)));
  return hn::CopySign(hn::Div(t, hn::Add(t, hn::Set(d, 2.0f))), x);
}

// 2^f for -0.5 <= f <= 0.5, relative error below 2e-7.
template <class D>
HWY_INLINE hn::Vec<D> exp2_of_fraction(D d, hn::Vec<D> f) {
  auto p = hn::MulAdd(hn::Set(d, 1.3276466634124517e-03f), f, hn::Set(d, 9.675540961325169e-03f));
  p = hn::MulAdd(p, f, hn::Set(d, 5.550713464617729e-02f));
  p = hn::MulAdd(p, f, hn::Set(d, 2.4022120237350464e-01f));
  p = hn::MulAdd(p, f, hn::Set(d, 6.931469440460205e-01f));
  return hn::MulAdd(p, f, hn::Set(d, 1.0000001192092896f));
}

// 1 / x for 1 <= x < 2^127, within 2 units of the last place: a division of 16 lanes takes as long as all else of a sigmoid.
template <class D>
HWY_INLINE hn::Vec<D> reciprocal_of(D d, hn::Vec<D> x) {
#if HWY_TARGET == HWY_AVX3
  const auto r = hn::ApproximateReciprocal(x);  // 14 bits
  return hn::MulAdd(r, hn::NegMulAdd(x, r, hn::Set(d, 1.0f)), r);
#else
  return hn::Div(hn::Set(d, 1.0f), x);
#endif
}

// 1 / (1 + e^-x), relative error below 1e-6 for |x| < 40; 0 below -87.3. NaN stays NaN.
template <class D>
HWY_INLINE hn::Vec<D> sigmoid_of(D d, hn::Vec<D> x) {
  const hn::RebindToSigned<D> di;
  const auto log2_e = hn::Set(d, -1.44269504f), magic = hn::Set(d, 12582912.0f);
  const auto within = clamp(d, x, -87.3f, 87.3f);
  // The power of two comes out of the rounding addition's low bits, added to the exponent.
  const auto shifted = hn::MulAdd(within, log2_e, magic);
  const auto f = hn::MulSub(within, log2_e, hn::Sub(shifted, magic));
  const auto p = exp2_of_fraction(d, f);
  const auto e = hn::BitCast(d, hn::Add(hn::BitCast(di, p), hn::ShiftLeft<23>(hn::BitCast(di, shifted))));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -87.3f)), reciprocal_of(d, hn::Add(hn::Set(d, 1.0f), e)));
}

// Absolute error below 1e-7, relative below 3e-7.
template <class D>
HWY_INLINE hn::Vec<D> erf_of(D d, hn::Vec<D> x) {
  const auto one = hn::Set(d, 1.0f);
  const auto a = at_most(d, hn::Abs(x), 4.0f);  // 1 - erf(4) = 1.5e-8
  // |x| <= 1: odd polynomial.
  const auto z = hn::Mul(x, x);
  auto p = hn::MulAdd(hn::Set(d, 7.889119297e-05f), z, hn::Set(d, -8.020841051e-04f));
  p = hn::MulAdd(p, z, hn::Set(d, 5.189535208e-03f));
  p = hn::MulAdd(p, z, hn::Set(d, -2.685444430e-02f));
  p = hn::MulAdd(p, z, hn::Set(d, 1.128360033e-01f));
  p = hn::MulAdd(p, z, hn::Set(d, -3.761262596e-01f));
  p = hn::MulAdd(p, z, hn::Set(d, 1.128379107e+00f));
  // |x| > 1: 1 - e^g, g a polynomial for log(erfc).
  auto g = hn::MulAdd(hn::Set(d, 1.855748997e-04f), a, hn::Set(d, -2.939615631e-03f));
  g = hn::MulAdd(g, a, hn::Set(d, 2.180535160e-02f));
  g = hn::MulAdd(g, a, hn::Set(d, -1.030374318e-01f));
  g = hn::MulAdd(g, a, hn::Set(d, -6.382256150e-01f));
  g = hn::MulAdd(g, a, hn::Set(d, -1.127040029e+00f));
  g = hn::MulAdd(g, a, hn::Set(d, -3.537089215e-04f));
  const auto large = hn::CopySign(hn::Neg(expm1_of_negative(d, g)), x);
  return hn::IfThenElse(hn::Gt(a, one), large, hn::Mul(p, x));
}

// log(1 + u) for 0 <= u <= 1: 2 atanh(u / (2 + u)).
template <class D>
HWY_INLINE hn::Vec<D> log1p_of_unit(D d, hn::Vec<D> u) {
  const auto s = hn::Div(u, hn::Add(u, hn::Set(d, 2.0f)));
  const auto z = hn::Mul(s, s);
  auto p = hn::MulAdd(hn::Set(d, 2.442490160e-01f), z, hn::Set(d, 2.138996273e-01f));
  p = hn::MulAdd(p, z, hn::Set(d, 2.862104177e-01f));
  p = hn::MulAdd(p, z, hn::Set(d, 3.999867737e-01f));
  p = hn::MulAdd(p, z, hn::Set(d, 6.666668057e-01f));
  p = hn::MulAdd(p, z, hn::Set(d, 2.0f));
  return hn::Mul(p, s);
}

// x (1 + tanh(inner)) / 2 as x sigmoid(2 inner): the same value without the cancellation at negative x.
template <class D>
HWY_INLINE hn::Vec<D> half_one_plus_tanh(D d, hn::Vec<D> x, hn::Vec<D> inner) {
  return hn::Mul(x, sigmoid_of(d, hn::Add(inner, inner)));
}

// x/2 (1 + erf(x / sqrt 2)) as max(x, 0) - |x| 2^g, g a polynomial for log2(erfc(|x| / sqrt 2) / 2): one chain, and no
// cancellation at negative x. Absolute error below 1e-7 (1 + |x|).
template <class D>
HWY_INLINE hn::Vec<D> gelu_of(D d, hn::Vec<D> x) {
  const auto a = at_most(d, hn::Abs(x), 5.65685f);
  auto g = hn::MulAdd(hn::Set(d, -1.7057153627320076e-06f), a, hn::Set(d, 2.5300854758825153e-05f));
  g = hn::MulAdd(g, a, hn::Set(d, -1.1572398216230795e-04f));
  g = hn::MulAdd(g, a, hn::Set(d, -3.194774326402694e-04f));
  g = hn::MulAdd(g, a, hn::Set(d, 7.326613180339336e-03f));
  g = hn::MulAdd(g, a, hn::Set(d, -5.270735174417496e-02f));
  g = hn::MulAdd(g, a, hn::Set(d, -4.591192603111267e-01f));
  g = hn::MulAdd(g, a, hn::Set(d, -1.1511222124099731f));
  g = hn::MulAdd(g, a, hn::Set(d, -0.9999989867210388f));
  // 2^g for -27 < g < 0: the power of two comes out of the rounding addition's low bits, added to the exponent.
  const auto magic = hn::Set(d, 12582912.0f);
  const auto shifted = hn::Add(g, magic);
  const auto r = hn::Sub(g, hn::Sub(shifted, magic));
  const auto p = exp2_of_fraction(d, r);
  const hn::RebindToSigned<D> di;
  const auto q = hn::BitCast(d, hn::Add(hn::BitCast(di, p), hn::ShiftLeft<23>(hn::BitCast(di, shifted))));
  return hn::NegMulAdd(a, q, at_least(d, x, 0.0f));
}

// One of HF's activations, chosen by a branch that is the same for all lanes.
template <class D>
HWY_INLINE hn::Vec<D> activate(D d, Activation kind, hn::Vec<D> x) {
  const auto zero = hn::Zero(d);
  const auto one = hn::Set(d, 1.0f);
  switch (kind) {
    case Activation::kNone: return x;
    case Activation::kSilu: return hn::Mul(x, sigmoid_of(d, x));
    case Activation::kGelu: return gelu_of(d, x);
    case Activation::kGeluTanh: {
      const auto cubic = hn::Mul(hn::Mul(hn::Mul(x, x), x), hn::Set(d, 0.044715f));
      return half_one_plus_tanh(d, x, hn::Mul(hn::Set(d, 0.797884561f), hn::Add(x, cubic)));
    }
    case Activation::kGeluFast: {
      const auto inner = hn::Mul(x, hn::Set(d, 0.7978845608f));
      return half_one_plus_tanh(d, x, hn::Mul(inner, hn::Add(one, hn::Mul(hn::Mul(hn::Set(d, 0.044715f), x), x))));
    }
    case Activation::kGelu10: return clamp(d, gelu_of(d, x), -10.0f, 10.0f);
    case Activation::kQuickGelu: return hn::Mul(x, sigmoid_of(d, hn::Mul(hn::Set(d, 1.702f), x)));
    case Activation::kRelu: return at_least(d, x, 0.0f);
    case Activation::kRelu2: {
      const auto r = at_least(d, x, 0.0f);
      return hn::Mul(r, r);
    }
    case Activation::kRelu6: return clamp(d, x, 0.0f, 6.0f);
    case Activation::kLeakyRelu: return hn::IfThenElse(hn::Gt(x, zero), x, hn::Mul(x, hn::Set(d, 0.01f)));
    case Activation::kSigmoid: return sigmoid_of(d, x);
    case Activation::kTanh: return tanh_of(d, x);
    case Activation::kMish: {
      // tanh(log(1 + e)) = (e^2 + 2e) / (e^2 + 2e + 2) with e = exp(x): only sums of positive numbers.
      const auto e = exp_of(d, at_most(d, x, 20.0f));
      const auto n = hn::Mul(e, hn::Add(e, hn::Set(d, 2.0f)));
      return hn::Mul(x, hn::Div(n, hn::Add(n, hn::Set(d, 2.0f))));
    }
    case Activation::kHardSwish:
      return hn::Div(hn::Mul(x, clamp(d, hn::Add(x, hn::Set(d, 3.0f)), 0.0f, 6.0f)), hn::Set(d, 6.0f));
    case Activation::kHardSigmoid: return hn::Div(clamp(d, hn::Add(x, hn::Set(d, 3.0f)), 0.0f, 6.0f), hn::Set(d, 6.0f));
    case Activation::kLaplace: {
      const auto z = hn::Div(hn::Sub(x, hn::Set(d, 0.707107f)), hn::Set(d, 0.282095f * 1.41421356f));
      return hn::Mul(hn::Set(d, 0.5f), hn::Add(one, erf_of(d, z)));
    }
    case Activation::kSqrtSoftplus: {
      const auto rest = log1p_of_unit(d, exp_of(d, hn::Neg(hn::Abs(x))));
      return hn::Sqrt(hn::Add(at_least(d, x, 0.0f), rest));
    }
  }
  return x;
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#endif  // PAGODA_KERNELS_CPU_MATH_INL_H_
