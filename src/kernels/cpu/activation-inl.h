// Derivatives of the activations as vectors, and the choice of an activation outside a loop. Included once a target.

#if defined(PAGODA_KERNELS_CPU_ACTIVATION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PAGODA_KERNELS_CPU_ACTIVATION_INL_H_
#undef PAGODA_KERNELS_CPU_ACTIVATION_INL_H_
#else
#define PAGODA_KERNELS_CPU_ACTIVATION_INL_H_
#endif

#include <type_traits>

#include "hwy/highway.h"
#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {

// An activation known to the compiler, for the frequent ones, and one that is not, for the rest: both are called as kind().
template <Activation kKind>
struct KnownKind {
  constexpr Activation operator()() const { return kKind; }
};
struct AnyKind {
  Activation kind;
  Activation operator()() const { return kind; }
};

template <class Fn>
HWY_INLINE void with_activation(Activation kind, const Fn& fn) {
  switch (kind) {
    case Activation::kSilu: return fn(KnownKind<Activation::kSilu>());
    case Activation::kGelu: return fn(KnownKind<Activation::kGelu>());
    case Activation::kGeluTanh: return fn(KnownKind<Activation::kGeluTanh>());
    case Activation::kQuickGelu: return fn(KnownKind<Activation::kQuickGelu>());
    case Activation::kRelu: return fn(KnownKind<Activation::kRelu>());
    default: return fn(AnyKind{kind});
  }
}

// The rare ones take the scalar formula, lane by lane.
HWY_NOINLINE FloatVec derivative_by_lane(Activation kind, FloatVec x) {
  float lanes[kLanes];
  hn::StoreU(x, FloatTag(), lanes);
  for (float& lane : lanes) lane = static_cast<float>(activation_derivative(kind, static_cast<double>(lane)));
  return hn::LoadU(FloatTag(), lanes);
}

HWY_INLINE FloatVec derivative(Activation kind, FloatVec x) {
  const FloatTag d;
  const FloatVec one = hn::Set(d, 1.0f), zero = hn::Zero(d);
  switch (kind) {
    case Activation::kNone: return one;
    case Activation::kSilu: {
      const FloatVec s = sigmoid_of(d, x);
      return hn::Mul(s, hn::MulAdd(x, hn::Sub(one, s), one));
    }
    case Activation::kQuickGelu: {
      const FloatVec scaled = hn::Mul(x, hn::Set(d, 1.702f)), s = sigmoid_of(d, scaled);
      return hn::Mul(s, hn::MulAdd(scaled, hn::Sub(one, s), one));
    }
    case Activation::kGelu: {
      const FloatVec half = hn::Set(d, 0.5f);
      const FloatVec normal = hn::MulAdd(half, erf_of(d, hn::Mul(x, hn::Set(d, 0.707106781f))), half);
      const FloatVec density = hn::Mul(hn::Set(d, 0.398942280f), exp_of(d, hn::Mul(hn::Mul(x, x), hn::Set(d, -0.5f))));
      return hn::MulAdd(x, density, normal);
    }
    case Activation::kGeluTanh: {
      const FloatVec half = hn::Set(d, 0.5f), c = hn::Set(d, 0.797884561f), square = hn::Mul(x, x);
      const FloatVec t = tanh_of(d, hn::Mul(hn::Mul(c, x), hn::MulAdd(square, hn::Set(d, 0.044715f), one)));
      const FloatVec inner = hn::Mul(c, hn::MulAdd(square, hn::Set(d, 0.134145f), one));
      const FloatVec outer = hn::Mul(hn::Mul(half, x), hn::NegMulAdd(t, t, one));
      return hn::MulAdd(outer, inner, hn::MulAdd(half, t, half));
    }
    case Activation::kRelu: return hn::IfThenElse(hn::Gt(x, zero), one, zero);
    case Activation::kSigmoid: {
      const FloatVec s = sigmoid_of(d, x);
      return hn::Mul(s, hn::Sub(one, s));
    }
    case Activation::kTanh: {
      const FloatVec t = tanh_of(d, x);
      return hn::NegMulAdd(t, t, one);
    }
    default: return derivative_by_lane(kind, x);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#endif  // PAGODA_KERNELS_CPU_ACTIVATION_INL_H_
