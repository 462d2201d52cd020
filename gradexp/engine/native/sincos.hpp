// Sine and cosine in one, right to 1.5 units in the last place (measured); in float from 39,000 on,
// where they are the library's, to 3.5.
template <class T> struct SinCos { Pack<T> sin, cos; };
template <class T> inline SinCos<T> where(Mask m, SinCos<T> a, SinCos<T> b) {
  return {where(m, a.sin, b.sin), where(m, a.cos, b.cos)};
}

#if defined(__AVX2__)
template <class T> inline Pack<T> fma(Pack<T> a, Pack<T> b, Pack<T> c) {
  for (int i = 0; i < Pack<T>::COUNT; ++i) {
    using V = typename Register<T>::type;
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4)
      c.v[i] = (V)_mm512_fmadd_ps((__m512)a.v[i], (__m512)b.v[i], (__m512)c.v[i]);
    else c.v[i] = (V)_mm512_fmadd_pd((__m512d)a.v[i], (__m512d)b.v[i], (__m512d)c.v[i]);
#else
    if constexpr (sizeof(T) == 4)
      c.v[i] = (V)_mm256_fmadd_ps((__m256)a.v[i], (__m256)b.v[i], (__m256)c.v[i]);
    else c.v[i] = (V)_mm256_fmadd_pd((__m256d)a.v[i], (__m256d)b.v[i], (__m256d)c.v[i]);
#endif
  }
  return c;
}
template <class T, class... Rest> inline Pack<T> polynomial(Pack<T> x, T first, Rest... rest) {
  if constexpr (sizeof...(rest) == 0) return splat<T>(first);
  else return fma(x, polynomial(x, rest...), splat<T>(first));
}

// What sine and cosine are made of: π/2 in three parts, of which `fma` takes multiples without
// loss (Cody and Waite, 1980), and least-squares polynomials in x² for (sin x / x - 1) / x² and
// (cos x - 1 + x²/2) / x⁴ up to |x| = 0.8, right to a fifth of a unit in the last place. Angles
// from FAR on, whose quarter turns a number does not hold so well, are the library's.
template <class T> struct Circle;
template <> struct Circle<float> {
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

template <class T> struct Two { typename Register<T>::type first, second; };
extern "C" Two<float> VECTOR_OF_float(sincos, u35)(Register<float>::type);
extern "C" Two<double> VECTOR_OF_double(sincos, u10)(Register<double>::type);

template <class T> __attribute__((noinline, cold)) SinCos<T> sincos_of_far(Pack<T> x) {
  SinCos<T> r;
  for (int i = 0; i < Pack<T>::COUNT; ++i) {
    Two<T> both;
    if constexpr (sizeof(T) == 4) both = VECTOR_OF_float(sincos, u35)(x.v[i]);
    else both = VECTOR_OF_double(sincos, u10)(x.v[i]);
    r.sin.v[i] = both.first;
    r.cos.v[i] = both.second;
  }
  return r;
}
template <class T> __attribute__((always_inline)) inline SinCos<T> sincos(Pack<T> x) {
  WHOLE(T);
  using C = Circle<T>;
  using Whole = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
  const Pack<T> shifted = x * C::QUARTERS + C::TO_INTEGER, quarters = shifted - C::TO_INTEGER;
  Pack<T> r = x;
  for (T part : C::PARTS) r = fma(quarters, splat<T>(-part), r);
  const Pack<T> z = r * r;
  const Pack<T> sine = fma(r * z, C::sine(z), r);
  const Pack<T> cosine = fma(z, fma(z, C::cosine(z), splat<T>(-0.5)), splat<T>(1));
  Pack<Whole> count;  // of quarter turns, in the lowest bits of what TO_INTEGER was added to
  std::memcpy(&count, &shifted, sizeof count);
  const auto with_sign = [](Pack<T> number, Pack<Whole> bit) {  // bit 1 turns it around
    const Pack<Whole> sign = (bit & Whole(2)) << Whole(8 * sizeof(T) - 2);
    Pack<Whole> bits;
    std::memcpy(&bits, &number, sizeof bits);
    bits = bits ^ sign;
    std::memcpy(&number, &bits, sizeof number);
    return number;
  };
  const auto odd = (count & Whole(1)) != Whole(0);
  SinCos<T> result{with_sign(where(odd, cosine, sine), count),
                   with_sign(where(odd, sine, cosine), count + Whole(1))};
  const auto near = abs(x) < C::FAR;
  if (__builtin_expect(any(~near), 0))  // whose own angles alone are given to the library
    result = where(near, result, sincos_of_far(where(near, splat<T>(2 * C::FAR), x)));
  return result;
}
#else
template <class T> inline SinCos<T> sincos(Pack<T> x) {
  return {each(x, [](T a) { return std::sin(a); }), each(x, [](T a) { return std::cos(a); })};
}
#endif
