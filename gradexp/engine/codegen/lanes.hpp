// What a generated program is written in: packs of numbers, one for each of LANES runs.
//
// The program says what `real` is. A pack of reals fills one vector register. Every lane does the
// same arithmetic, so a run's numbers do not depend on who shares its pack.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <type_traits>

#if defined(__AVX512F__)
#include <immintrin.h>
constexpr int BYTES = 64;
#elif defined(__AVX2__)
#include <immintrin.h>
constexpr int BYTES = 32;
#else
constexpr int BYTES = 16;
#endif

constexpr int LANES = BYTES / int(sizeof(real));
using index_t = std::conditional_t<sizeof(real) == 4, int32_t, int64_t>;

// A register of a type; a part of one where the type is narrower than the reals.
constexpr int bytes_of(int size) { return LANES * size < BYTES ? LANES * size : BYTES; }
template <class T> struct Register {
  typedef T type __attribute__((vector_size(bytes_of(sizeof(T)))));
};
#define WHOLE(T) static_assert(sizeof(T) >= sizeof(real), "a function of numbers that are narrower")

template <class T> struct Pack {
  static constexpr int COUNT = LANES * int(sizeof(T)) / bytes_of(sizeof(T));
  typename Register<T>::type v[COUNT];
};

// Of plain numbers, what is the same for every run; of packs, below.
using std::abs, std::acos, std::acosh, std::asin, std::asinh, std::atan, std::atan2, std::atanh,
    std::ceil, std::cos, std::cosh, std::erf, std::exp, std::exp2, std::expm1, std::floor,
    std::hypot, std::lgamma, std::log, std::log10, std::log1p, std::log2, std::nearbyint, std::pow,
    std::sin, std::sinh, std::sqrt, std::tan, std::tanh, std::trunc;

template <class T> struct Plain { using type = T; };  // keeps a scalar out of template deduction

// Room for an array.
template <class T> struct Room {
  explicit Room(std::size_t count) : first(new T[count]) {}
  std::unique_ptr<T[]> first;
};

template <class T> inline Pack<T> splat(T x) {
  Pack<T> r;
  for (auto& v : r.v) v = typename Register<T>::type{} + x;
  return r;
}
// 0, 1, 2, …, a number a lane.
template <class T> inline Pack<T> count() {
  Pack<T> r;
  T numbers[LANES];
  for (int i = 0; i < LANES; ++i) numbers[i] = T(i);
  std::memcpy(&r, numbers, sizeof r);
  return r;
}
template <class T> inline Pack<T> load(const T* from) {
  Pack<T> r;
  std::memcpy(&r, from, sizeof r);
  return r;
}
template <class T> inline void store(T* to, Pack<T> x) { std::memcpy(to, &x, sizeof x); }

// Past the caches: a trace is not read again before it is whole. `to` is aligned to a register.
template <class T> inline void stream(T* to, Pack<T> x) {
  for (int i = 0; i < Pack<T>::COUNT; ++i) {
#if defined(__AVX512F__)
    _mm512_stream_si512((__m512i*)((char*)to + i * BYTES), (__m512i)x.v[i]);
#elif defined(__AVX2__)
    _mm256_stream_si256((__m256i*)((char*)to + i * BYTES), (__m256i)x.v[i]);
#else
    std::memcpy((char*)to + i * BYTES, &x.v[i], BYTES);
#endif
  }
}
// Streamed stores are ordered with nothing that follows: what another thread is told is there must
// be there.
inline void fence() {
#if defined(__AVX2__)
  _mm_sfence();
#endif
}

#define ARITHMETIC(op)                                                                       \
  template <class T> inline Pack<T> operator op(Pack<T> a, Pack<T> b) {                      \
    for (int i = 0; i < Pack<T>::COUNT; ++i) a.v[i] = a.v[i] op b.v[i];                      \
    return a;                                                                                \
  }                                                                                          \
  template <class T> inline Pack<T> operator op(Pack<T> a, typename Plain<T>::type b) {      \
    return a op splat<T>(b);                                                                 \
  }                                                                                          \
  template <class T> inline Pack<T> operator op(typename Plain<T>::type a, Pack<T> b) {      \
    return splat<T>(a) op b;                                                                 \
  }
ARITHMETIC(+) ARITHMETIC(-) ARITHMETIC(*) ARITHMETIC(/)
ARITHMETIC(&) ARITHMETIC(|) ARITHMETIC(^) ARITHMETIC(>>) ARITHMETIC(<<)

template <class T> inline Pack<T> operator-(Pack<T> a) {
  for (auto& v : a.v) v = -v;
  return a;
}
template <class T> inline Pack<T> operator~(Pack<T> a) {
  for (auto& v : a.v) v = ~v;
  return a;
}

template <class To, class From> inline Pack<To> to(Pack<From> a) {
  if constexpr (std::is_same_v<To, From>) {
    return a;
  } else if constexpr (Pack<To>::COUNT == Pack<From>::COUNT) {
    Pack<To> r;
    for (int i = 0; i < Pack<To>::COUNT; ++i)
      r.v[i] = __builtin_convertvector(a.v[i], typename Register<To>::type);
    return r;
  } else {
    From from[LANES];
    To result[LANES];
    std::memcpy(from, &a, sizeof a);
    for (int i = 0; i < LANES; ++i) result[i] = To(from[i]);
    return load(result);
  }
}
template <class To, class From, class = std::enable_if_t<std::is_arithmetic_v<From>>>
inline To to(From a) { return To(a); }

// Of whole numbers: what is left of a product that is too long; of 32 bits each, which is one
// instruction instead of three; and the upper 32 bits.
template <class A, class B> inline auto product(A a, B b) { return a * b; }
template <class A, class B> inline auto product_of_words(A a, B b) { return a * b; }
#if defined(__AVX512F__)
inline Pack<int64_t> product_of_words(Pack<int64_t> a, Pack<int64_t> b) {
  for (int i = 0; i < Pack<int64_t>::COUNT; ++i)
    a.v[i] = (decltype(+a.v[i]))_mm512_mul_epu32((__m512i)a.v[i], (__m512i)b.v[i]);
  return a;
}
inline Pack<int64_t> product_of_words(Pack<int64_t> a, int64_t b) {
  return product_of_words(a, splat(b));
}
#elif defined(__AVX2__)
inline Pack<int64_t> product_of_words(Pack<int64_t> a, Pack<int64_t> b) {
  for (int i = 0; i < Pack<int64_t>::COUNT; ++i)
    a.v[i] = (decltype(+a.v[i]))_mm256_mul_epu32((__m256i)a.v[i], (__m256i)b.v[i]);
  return a;
}
inline Pack<int64_t> product_of_words(Pack<int64_t> a, int64_t b) {
  return product_of_words(a, splat(b));
}
#endif
inline Pack<int64_t> high_word(Pack<int64_t> a) {
  using Unsigned = typename Register<uint64_t>::type;
  for (auto& v : a.v) v = (typename Register<int64_t>::type)((Unsigned)v >> 32);
  return a;
}

// A lower word without its last bits, of which there are some, as a real number.
template <class T> inline T shifted_word(int64_t a, int by) { return T(int32_t(uint32_t(a) >> by)); }
template <class T> inline Pack<T> shifted_word(Pack<int64_t> a, int by) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) {
    const __m512i lower = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i words = _mm512_permutex2var_epi32((__m512i)a.v[0], lower, (__m512i)a.v[1]);
    Pack<T> r;
    r.v[0] = (decltype(+r.v[0]))_mm512_cvtepi32_ps(_mm512_srli_epi32(words, by));
    return r;
  }
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == 4) {
    const __m256i words = (__m256i)_mm256_shuffle_ps((__m256)a.v[0], (__m256)a.v[1], 0x88);
    const __m256i ordered = _mm256_permute4x64_epi64(words, 0xd8);
    Pack<T> r;
    r.v[0] = (decltype(+r.v[0]))_mm256_cvtepi32_ps(_mm256_srli_epi32(ordered, by));
    return r;
  }
#endif
  return to<T>((a & int64_t(0xffffffff)) >> int64_t(by));
}

template <class T> inline Pack<T> pack(Pack<T> x) { return x; }
template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>> inline Pack<T> pack(T x) {
  return splat<T>(x);
}
#include "mask.hpp"

template <class T> inline Pack<T> abs(Pack<T> x) {
  if constexpr (std::is_integral_v<T>) {
    return where(x < T(0), -x, x);
  } else {
    using Wide = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
    for (auto& v : x.v)
      v = (typename Register<T>::type)((typename Register<Wide>::type)v &
                                       std::numeric_limits<Wide>::max());
    return x;
  }
}
// As in torch: NaN where either is.
template <class T> inline T maximum(T a, T b) { return where((a > b) | (a != a), a, b); }
template <class T> inline T minimum(T a, T b) { return where((a < b) | (a != a), a, b); }
template <class T> inline Pack<T> sign(Pack<T> x) {
  auto one = splat<T>(1), none = splat<T>(0);
  return where(x > none, one, none) - where(x < none, one, none);
}
template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>> inline T sign(T x) {
  return T((x > 0) - (x < 0));
}

// One number after the other: for what has no vector form here.
template <class T, class F> inline Pack<T> each(Pack<T> x, F f) {
  alignas(BYTES) T lanes[LANES];
  std::memcpy(lanes, &x, sizeof x);
  for (int i = 0; i < LANES; ++i) lanes[i] = f(lanes[i]);
  return load(lanes);
}
template <class T, class F> inline Pack<T> each(Pack<T> x, Pack<T> y, F f) {
  alignas(BYTES) T left[LANES], right[LANES];
  std::memcpy(left, &x, sizeof x);
  std::memcpy(right, &y, sizeof y);
  for (int i = 0; i < LANES; ++i) left[i] = f(left[i], right[i]);
  return load(left);
}
#define LANE_BY_LANE(name)                                                                   \
  template <class T> inline Pack<T> name(Pack<T> x) {                                        \
    return each(x, [](T a) { return std::name(a); });                                        \
  }
LANE_BY_LANE(floor) LANE_BY_LANE(ceil) LANE_BY_LANE(trunc)
LANE_BY_LANE(nearbyint)

template <class T> inline Pack<T> sqrt(Pack<T> x) {
  WHOLE(T);
#if defined(__AVX512F__)
  for (auto& v : x.v)
    if constexpr (sizeof(T) == 4) v = (decltype(+v))_mm512_sqrt_ps((__m512)v);
    else v = (decltype(+v))_mm512_sqrt_pd((__m512d)v);
  return x;
#elif defined(__AVX2__)
  for (auto& v : x.v)
    if constexpr (sizeof(T) == 4) v = (decltype(+v))_mm256_sqrt_ps((__m256)v);
    else v = (decltype(+v))_mm256_sqrt_pd((__m256d)v);
  return x;
#else
  return each(x, [](T a) { return std::sqrt(a); });
#endif
}

// The vector mathematics that torch brings (https://sleef.org); libm where there is none, or where
// torch hides it (LIBM).
#if defined(__AVX2__) && !defined(LIBM)
#define SLEEF
#endif
#if defined(__AVX512F__)
#define VECTOR_OF_float(name, ulp) Sleef_##name##f16_##ulp
#define VECTOR_OF_double(name, ulp) Sleef_##name##d8_##ulp
#elif defined(__AVX2__)
#define VECTOR_OF_float(name, ulp) Sleef_##name##f8_##ulp
#define VECTOR_OF_double(name, ulp) Sleef_##name##d4_##ulp
#endif
#if defined(SLEEF)
#define UNARY(name, ulp)                                                                     \
  extern "C" Register<float>::type VECTOR_OF_float(name, ulp)(Register<float>::type);        \
  extern "C" Register<double>::type VECTOR_OF_double(name, ulp)(Register<double>::type);     \
  template <class T> inline Pack<T> name(Pack<T> x) {                                        \
    WHOLE(T);                                                                                \
    for (auto& v : x.v)                                                                      \
      if constexpr (sizeof(T) == 4) v = VECTOR_OF_float(name, ulp)(v);                       \
      else v = VECTOR_OF_double(name, ulp)(v);                                               \
    return x;                                                                                \
  }
#define BINARY(name, ulp)                                                                    \
  extern "C" Register<float>::type VECTOR_OF_float(name, ulp)(Register<float>::type,         \
                                                              Register<float>::type);        \
  extern "C" Register<double>::type VECTOR_OF_double(name, ulp)(Register<double>::type,      \
                                                                Register<double>::type);     \
  template <class T> inline Pack<T> name(Pack<T> x, Pack<T> y) {                             \
    WHOLE(T);                                                                                \
    for (int i = 0; i < Pack<T>::COUNT; ++i)                                                 \
      if constexpr (sizeof(T) == 4) x.v[i] = VECTOR_OF_float(name, ulp)(x.v[i], y.v[i]);     \
      else x.v[i] = VECTOR_OF_double(name, ulp)(x.v[i], y.v[i]);                             \
    return x;                                                                                \
  }
#else
#define UNARY(name, ulp) LANE_BY_LANE(name)
#define BINARY(name, ulp)                                                                    \
  template <class T> inline Pack<T> name(Pack<T> x, Pack<T> y) {                             \
    return each(x, y, [](T a, T b) { return std::name(a, b); });                             \
  }
#endif
UNARY(asin, u10) UNARY(acos, u10)
UNARY(atan, u10) UNARY(sinh, u10) UNARY(cosh, u10) UNARY(tanh, u10) UNARY(asinh, u10)
UNARY(acosh, u10) UNARY(atanh, u10) UNARY(exp, u10) UNARY(exp2, u10) UNARY(expm1, u10)
UNARY(log2, u10) UNARY(log10, u10) UNARY(log1p, u10) UNARY(erf, u10)
UNARY(lgamma, u10) BINARY(pow, u10) BINARY(atan2, u10) BINARY(hypot, u05)

// The vector form of the tangent reduces small, large and huge angles in three ways, and takes the
// one that serves all lanes. Each is called with angles of its own size only, so that a run's
// numbers do not depend on who shares its pack.
template <class T, class F> inline auto by_size(Pack<T> x, F f) {
  constexpr T small = sizeof(T) == 4 ? 125 : 15, large = sizeof(T) == 4 ? 39000 : 1e14;
  const auto size = abs(x);
  const Mask is_small = size < small;
  auto result = f(where(is_small, x, splat<T>(0)));
  if (any(~is_small)) {
    const Mask is_large = ~is_small & (size < large), is_huge = ~(is_small | is_large);
    if (any(is_large)) result = where(is_large, f(where(is_large, x, splat<T>(2 * small))), result);
    if (any(is_huge)) result = where(is_huge, f(where(is_huge, x, splat<T>(10 * large))), result);
  }
  return result;
}

#if defined(SLEEF)
extern "C" Register<float>::type VECTOR_OF_float(tan, u10)(Register<float>::type);
extern "C" Register<double>::type VECTOR_OF_double(tan, u10)(Register<double>::type);
template <class T> inline Pack<T> tan(Pack<T> x) {
  WHOLE(T);
  return by_size(x, [](Pack<T> angle) {
    for (auto& v : angle.v)
      if constexpr (sizeof(T) == 4) v = VECTOR_OF_float(tan, u10)(v);
      else v = VECTOR_OF_double(tan, u10)(v);
    return angle;
  });
}
#else
LANE_BY_LANE(tan)
#endif
template <class T> inline Pack<T> pow(Pack<T> x, typename Plain<T>::type y) {
  return pow(x, splat<T>(y));
}

#include "sincos.hpp"
#if defined(__AVX2__)
#include "logarithm.hpp"
#else
LANE_BY_LANE(log)
#endif
