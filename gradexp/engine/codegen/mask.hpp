// Which lanes something holds for. With AVX-512 a bit a lane, which has registers and a port of its
// own; elsewhere a pack of whole numbers, 0 or -1.

#if defined(__AVX512VL__) && defined(__AVX512DQ__)
using Bits = std::conditional_t<LANES == 16, __mmask16, __mmask8>;
struct Mask { Bits bits; };

// In registers of their own (measured: 20 of them take a fifth less of a step), but where points are
// in registers, too: there the compiler makes comparisons of some of these.
constexpr bool PLAIN = GROUPS > 1;
#define OF_MASKS(op, name)                                                                   \
  inline Mask operator op(Mask a, Mask b) {                                                  \
    if constexpr (PLAIN) return {Bits(a.bits op b.bits)};                                    \
    else if constexpr (LANES == 16) return {_k##name##_mask16(a.bits, b.bits)};              \
    else return {_k##name##_mask8(a.bits, b.bits)};                                          \
  }
OF_MASKS(&, and) OF_MASKS(|, or) OF_MASKS(^, xor)
inline Mask operator~(Mask a) { return a ^ Mask{Bits(-1)}; }
inline Mask mask(bool x) { return {Bits(x ? -1 : 0)}; }
inline bool any(Mask m) { return m.bits != 0; }

// The bits of one register, of a part of the lanes where a type is wider than the reals.
#define COMPARISON(op, real_code, whole_code)                                                \
  template <class T> inline Mask operator op(Pack<T> a, Pack<T> b) {                         \
    unsigned bits = 0;                                                                       \
    for (int i = 0; i < Pack<T>::COUNT; ++i) {                                               \
      unsigned found;                                                                        \
      if constexpr (sizeof a.v[i] == 32)                                                     \
        found = std::is_integral_v<T>                                                        \
                    ? _mm256_cmp_epi32_mask((__m256i)a.v[i], (__m256i)b.v[i], whole_code)    \
                    : _mm256_cmp_ps_mask((__m256)a.v[i], (__m256)b.v[i], real_code);         \
      else if constexpr (std::is_integral_v<T>)                                              \
        found = sizeof(T) == 4                                                               \
                    ? _mm512_cmp_epi32_mask((__m512i)a.v[i], (__m512i)b.v[i], whole_code)    \
                    : _mm512_cmp_epi64_mask((__m512i)a.v[i], (__m512i)b.v[i], whole_code);   \
      else                                                                                   \
        found = sizeof(T) == 4                                                               \
                    ? _mm512_cmp_ps_mask((__m512)a.v[i], (__m512)b.v[i], real_code)          \
                    : _mm512_cmp_pd_mask((__m512d)a.v[i], (__m512d)b.v[i], real_code);       \
      bits |= found << (i * int(sizeof a.v[i] / sizeof(T)));                                 \
    }                                                                                        \
    return {Bits(bits)};                                                                     \
  }
COMPARISON(<, _CMP_LT_OQ, _MM_CMPINT_LT) COMPARISON(<=, _CMP_LE_OQ, _MM_CMPINT_LE)
COMPARISON(>, _CMP_GT_OQ, _MM_CMPINT_NLE) COMPARISON(>=, _CMP_GE_OQ, _MM_CMPINT_NLT)
COMPARISON(==, _CMP_EQ_OQ, _MM_CMPINT_EQ) COMPARISON(!=, _CMP_NEQ_UQ, _MM_CMPINT_NE)

template <class T> inline Pack<T> where(Mask m, Pack<T> a, Pack<T> b) {
  for (int i = 0; i < Pack<T>::COUNT; ++i) {
    const auto bits = m.bits >> (i * int(sizeof a.v[i] / sizeof(T)));
    using V = typename Register<T>::type;
    if constexpr (sizeof a.v[i] == 32)
      a.v[i] = (V)_mm256_mask_blend_epi32(__mmask8(bits), (__m256i)b.v[i], (__m256i)a.v[i]);
    else if constexpr (sizeof(T) == 4)
      a.v[i] = (V)_mm512_mask_blend_epi32(__mmask16(bits), (__m512i)b.v[i], (__m512i)a.v[i]);
    else
      a.v[i] = (V)_mm512_mask_blend_epi64(__mmask8(bits), (__m512i)b.v[i], (__m512i)a.v[i]);
  }
  return a;
}
#else
using Mask = Pack<index_t>;
inline Mask mask(bool x) { return splat<index_t>(x ? -1 : 0); }
inline bool any(Mask m) {
  auto r = m.v[0];
  for (int i = 1; i < Mask::COUNT; ++i) r = r | m.v[i];
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask((__m512i)r, (__m512i)r) != 0;
#elif defined(__AVX2__)
  return !_mm256_testz_si256((__m256i)r, (__m256i)r);
#else
  index_t lanes[BYTES / sizeof(index_t)];
  std::memcpy(lanes, &r, sizeof r);
  index_t found = 0;
  for (index_t lane : lanes) found |= lane;
  return found != 0;
#endif
}

#define COMPARISON(op)                                                                       \
  template <class T> inline Mask operator op(Pack<T> a, Pack<T> b) {                         \
    using Wide = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;                       \
    Pack<Wide> r;                                                                            \
    for (int i = 0; i < Pack<T>::COUNT; ++i) r.v[i] = a.v[i] op b.v[i];                      \
    return to<index_t>(r);                                                                   \
  }
COMPARISON(<) COMPARISON(<=) COMPARISON(>) COMPARISON(>=) COMPARISON(==) COMPARISON(!=)

template <class T> inline Pack<T> where(Mask m, Pack<T> a, Pack<T> b) {
  if constexpr (sizeof(T) == sizeof(real)) {
    for (int i = 0; i < Pack<T>::COUNT; ++i) a.v[i] = m.v[i] ? a.v[i] : b.v[i];
    return a;
  } else {
    using Wide = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
    auto wide = to<Wide>(m);
    for (int i = 0; i < Pack<T>::COUNT; ++i) a.v[i] = wide.v[i] ? a.v[i] : b.v[i];
    return a;
  }
}
#endif

inline Mask mask(Mask x) { return x; }
template <class T> inline T where(bool m, T a, T b) { return m ? a : b; }

#define COMPARISON_WITH_A_NUMBER(op)                                                         \
  template <class T> inline Mask operator op(Pack<T> a, typename Plain<T>::type b) {         \
    return a op splat<T>(b);                                                                 \
  }                                                                                          \
  template <class T> inline Mask operator op(typename Plain<T>::type a, Pack<T> b) {         \
    return splat<T>(a) op b;                                                                 \
  }
COMPARISON_WITH_A_NUMBER(<) COMPARISON_WITH_A_NUMBER(<=) COMPARISON_WITH_A_NUMBER(>)
COMPARISON_WITH_A_NUMBER(>=) COMPARISON_WITH_A_NUMBER(==) COMPARISON_WITH_A_NUMBER(!=)
