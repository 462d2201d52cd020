// What a generated CUDA program is written in: each thread advances one run, so that what is a
// pack of lanes on the CPU (see lanes.hpp) is one number here.
//
// Products and sums are not fused (the compiler is told so), and division and square root are
// those of IEEE 754: such arithmetic gives the numbers that it gives on the CPU, to the bit.

#if defined(__CUDACC_RTC__)
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;
#define INT64_C(x) x##LL
#define NAN __int_as_float(0x7fffffff)
#define INFINITY __int_as_float(0x7f800000)
#endif

template <class T> using Pack = T;

struct Mask {
  bool holds;
  Mask() = default;
  Mask(bool x) : holds(x) {}
};
inline Mask operator&(Mask a, Mask b) { return a.holds && b.holds; }
inline Mask operator|(Mask a, Mask b) { return a.holds || b.holds; }
inline Mask operator^(Mask a, Mask b) { return a.holds != b.holds; }
inline Mask operator~(Mask a) { return !a.holds; }

// A number of steps: whole numbers of 32 bits are compared in half the time of those of 64.
struct Step {
  int32_t at;
  operator int64_t() const { return at; }
};
inline bool operator<(Step a, Step b) { return a.at < b.at; }

// A run's own rows of a buffer.
template <class T> struct Column {
  T* first;
  int64_t width;
  T& operator[](int64_t row) const { return first[row * width]; }
};

template <class T> struct Plain { using type = T; };  // keeps an argument out of deduction

template <class T> inline T load(const T* from) { return *from; }
template <class T> inline void store(T* to, T x) { *to = x; }
template <class T> inline void stream(T* to, T x) { *to = x; }
template <class T> inline T pack(T x) { return x; }
inline int64_t pack(Step x) { return x; }
inline Mask mask(Mask x) { return x; }
template <class To, class From> inline To to(From x) { return To(x); }
template <class T> inline T where(Mask m, T a, typename Plain<T>::type b) {
  return m.holds ? a : b;
}
inline int64_t product(int64_t a, int64_t b) { return int64_t(uint64_t(a) * uint64_t(b)); }
inline int64_t product_of_words(int64_t a, int64_t b) {
  return int64_t(uint64_t(uint32_t(a)) * uint32_t(b));
}
inline int64_t high_word(int64_t a) { return int64_t(uint64_t(a) >> 32); }
template <class T> inline T shifted_word(int64_t a, int by) { return T(int32_t(uint32_t(a) >> by)); }

// As in torch: NaN where either is.
template <class T> inline T maximum(T a, typename Plain<T>::type b) {
  return a > b || a != a ? a : b;
}
template <class T> inline T minimum(T a, typename Plain<T>::type b) {
  return a < b || a != a ? a : b;
}
template <class T> inline T sign(T x) { return T((x > 0) - (x < 0)); }

template <class T> inline T splat(T x) { return x; }
#define INLINE inline
#include "circle.hpp"

__noinline__ SinCos<float> sincos_of_far(float x) {
  SinCos<float> r;
  sincosf(x, &r.sin, &r.cos);
  return r;
}
__noinline__ SinCos<double> sincos_of_far(double x) {
  SinCos<double> r;
  sincos(x, &r.sin, &r.cos);
  return r;
}
template <class T> inline SinCos<T> sincos(T x) {
  return abs(x) < Circle<T>::FAR ? sincos_of_near<T>(x) : sincos_of_far(x);
}
