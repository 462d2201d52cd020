// Sine and cosine in one, on the CPU and on CUDA the same to the bit: right to 1.5 units in the last
// place (measured) for angles nearer than FAR.
//
// π/2 in three parts, of which `fma` takes multiples without loss (Cody and Waite, 1980), and
// least-squares polynomials in x² for (sin x / x - 1) / x² and (cos x - 1 + x²/2) / x⁴ up to
// |x| = 0.8, right to a fifth of a unit in the last place. From FAR on a number does not hold its
// quarter turns so well.
template <class T> struct SinCos { Pack<T> sin, cos; };

template <class T, class... Rest> inline Pack<T> polynomial(Pack<T> x, T first, Rest... rest) {
  if constexpr (sizeof...(rest) == 0) return splat<T>(first);
  else return fma(x, polynomial(x, rest...), splat<T>(first));
}

template <class T> struct Circle;
template <> struct Circle<float> {
  using Whole = int32_t;
  static constexpr float FAR = 39000, TO_INTEGER = 0x1.8p23f, QUARTERS = 0x1.45f306p-1f;
  static constexpr float PARTS[] = {0x1.921fb6p+0f, -0x1.777a5cp-25f, -0x1.ee59dap-50f};
  template <class P> static inline P sine(P z) {
    return polynomial(z, -0x1.555544p-3f, 0x1.110688p-7f, -0x1.990674p-13f);
  }
  template <class P> static inline P cosine(P z) {
    return polynomial(z, 0x1.55554ap-5f, -0x1.6c0b94p-10f, 0x1.99bcaap-16f);
  }
};
template <> struct Circle<double> {
  using Whole = int64_t;
  static constexpr double FAR = 1e14, TO_INTEGER = 0x1.8p52, QUARTERS = 0x1.45f306dc9c883p-1;
  static constexpr double PARTS[] = {0x1.921fb54442d18p+0, 0x1.1a62633145c07p-54,
                                     -0x1.f1976b7ed8fbcp-110};
  template <class P> static inline P sine(P z) {
    return polynomial(z, -0x1.5555555555545p-3, 0x1.111111110f2fcp-7, -0x1.a01a019b60ea1p-13,
                      0x1.71de34dd4f8f5p-19, -0x1.ae5dec5ecf8c6p-26, 0x1.5d6f6ab419648p-33);
  }
  template <class P> static inline P cosine(P z) {
    return polynomial(z, 0x1.5555555555549p-5, -0x1.6c16c16c14b07p-10, 0x1.a01a019c10843p-16,
                      -0x1.27e4f79551fdap-22, 0x1.1ee99c6f61f5fp-29, -0x1.8f8556315283ep-37);
  }
};

template <class T> INLINE SinCos<T> sincos_of_near(Pack<T> x) {
  using C = Circle<T>;
  using Whole = typename Circle<T>::Whole;
  const Pack<T> shifted = x * C::QUARTERS + C::TO_INTEGER, quarters = shifted - C::TO_INTEGER;
  Pack<T> r = x;
  for (T part : C::PARTS) r = fma(quarters, splat<T>(-part), r);
  const Pack<T> z = r * r;
  const Pack<T> sine = fma(r * z, C::sine(z), r);
  const Pack<T> cosine = fma(z, fma(z, C::cosine(z), splat<T>(-0.5)), splat<T>(1));
  Pack<Whole> count;  // of quarter turns, in the lowest bits of what TO_INTEGER was added to
  memcpy(&count, &shifted, sizeof count);
  const auto with_sign = [](Pack<T> number, Pack<Whole> bit) {  // bit 1 turns it around
    const Pack<Whole> sign = (bit & Whole(2)) << Whole(8 * sizeof(T) - 2);
    Pack<Whole> bits;
    memcpy(&bits, &number, sizeof bits);
    bits = bits ^ sign;
    memcpy(&number, &bits, sizeof number);
    return number;
  };
  const auto odd = (count & Whole(1)) != Whole(0);
  return {with_sign(where(odd, cosine, sine), count),
          with_sign(where(odd, sine, cosine), count + Whole(1))};
}
