// Sine and cosine in one: those of `circle.hpp`; from FAR on the library's, in float to 3.5 units in
// the last place.
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
#define INLINE __attribute__((always_inline)) inline
#include "circle.hpp"

template <class T> inline SinCos<T> where(Mask m, SinCos<T> a, SinCos<T> b) {
  return {where(m, a.sin, b.sin), where(m, a.cos, b.cos)};
}

#if defined(SLEEF)
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
#else
template <class T> __attribute__((noinline, cold)) SinCos<T> sincos_of_far(Pack<T> x) {
  return {each(x, [](T a) { return std::sin(a); }), each(x, [](T a) { return std::cos(a); })};
}
#endif
template <class T> INLINE SinCos<T> sincos(Pack<T> x) {
  WHOLE(T);
  using C = Circle<T>;
  SinCos<T> result = sincos_of_near<T>(x);
  const auto near = abs(x) < C::FAR;
  if (__builtin_expect(any(~near), 0))  // whose own angles alone are given to the library
    result = where(near, result, sincos_of_far(where(near, splat<T>(2 * C::FAR), x)));
  return result;
}
#else
template <class T> struct SinCos { Pack<T> sin, cos; };
template <class T> inline SinCos<T> sincos(Pack<T> x) {
  return {each(x, [](T a) { return std::sin(a); }), each(x, [](T a) { return std::cos(a); })};
}
template <class T> inline SinCos<T> sincos_of_near(Pack<T> x) { return sincos(x); }
#endif
