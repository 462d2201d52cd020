// The natural logarithm, right to a unit in the last place (measured), without a call, which would
// empty the registers.
//
// x = 2ᵏ m with √½ <= m < √2; with f = m - 1 and s = f/(2 + f), log m = log((1 + s)/(1 - s)) =
// f - f²/2 + s (f²/2 + s² R(s²)), where R is an almost best polynomial for 2/3 + 2/5 s² + 2/7 s⁴ + …
// (Chebyshev's points), right to a fiftieth of a unit; log 2 in two parts, of which k times the
// first is exact.
template <class T> struct Logarithm;
template <> struct Logarithm<float> {
  using Whole = int32_t;
  static constexpr Whole ONE = 0x3f800000, ROOT = 0x3f3504f3, DIGITS = 23, BIAS = 127;
  static constexpr float LOG_2 = 0x1.62e4p-1f, REST = 0x1.7f7d1cp-20f, LIFT = 0x1p23f;
  template <class P> static inline P series(P z) {
    return polynomial(z, 0x1.55555cp-1f, 0x1.997c3p-2f, 0x1.2ee61p-2f);
  }
};
template <> struct Logarithm<double> {
  using Whole = int64_t;
  static constexpr Whole ONE = 0x3ff0000000000000, ROOT = 0x3fe6a09e667f3bcd, DIGITS = 52,
                         BIAS = 1023;
  static constexpr double LOG_2 = 0x1.62e42fefp-1, REST = 0x1.473de6af278edp-34, LIFT = 0x1p52;
  template <class P> static inline P series(P z) {
    return polynomial(z, 0x1.5555555555558p-1, 0x1.99999999952e2p-2, 0x1.2492492df148dp-2,
                      0x1.c71c62e5800a1p-3, 0x1.7462b4ab2ef6bp-3, 0x1.39fe606542ddep-3,
                      0x1.2b584aae78a57p-3);
  }
};

// Of a number that was made larger by so many binary digits.
template <class T> INLINE Pack<T> log_of_normal(Pack<T> x, T lifted = 0) {
  using L = Logarithm<T>;
  using Whole = typename L::Whole;
  Pack<Whole> bits;
  std::memcpy(&bits, &x, sizeof bits);
  bits = bits + (L::ONE - L::ROOT);
  const Pack<T> k = to<T>((bits >> L::DIGITS) - L::BIAS) - lifted;
  const Pack<Whole> digits = (bits & ((Whole(1) << L::DIGITS) - 1)) + L::ROOT;
  Pack<T> m;
  std::memcpy(&m, &digits, sizeof m);
  const Pack<T> f = m - T(1), s = f / (f + T(2)), z = s * s, half = f * f * T(0.5);
  const Pack<T> inner = fma(s, fma(z, L::series(z), half), k * L::REST);
  return fma(k, splat<T>(L::LOG_2), f - (half - inner));
}
template <class T> INLINE Pack<T> log(Pack<T> x) {
  WHOLE(T);
  using L = Logarithm<T>;
  using Limits = std::numeric_limits<T>;
  Pack<T> result = log_of_normal<T>(x);
  const Mask normal = (x >= splat<T>(Limits::min())) & (x <= splat<T>(Limits::max()));
  if (__builtin_expect(any(~normal), 0)) {
    const Pack<T> tiny = log_of_normal<T>(x * L::LIFT, L::DIGITS), zero = splat<T>(0);
    const Pack<T> below = where(x == zero, splat<T>(-Limits::infinity()), x + Limits::quiet_NaN());
    const Pack<T> rest = where(x > zero, where(x < splat<T>(1), tiny, x), below);
    result = where(normal, result, rest);
  }
  return result;
}
