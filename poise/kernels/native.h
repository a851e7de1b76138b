/* What all kernels share. Plain C on data pointers: no torch, no Python, so one build serves every version of both. */
#ifndef POISE_NATIVE_H
#define POISE_NATIVE_H

#include <stdint.h>

/* A number of all sources, which setup.py gives; `library.py` refuses a build of others. */
#ifndef POISE_INTERFACE
#define POISE_INTERFACE 0
#endif

#if defined(_WIN32)
#define POISE_EXPORT __declspec(dllexport)
#else
#define POISE_EXPORT __attribute__((visibility("default")))
#endif

/* POISE_CLONES before a function: compiled for several instruction sets, and chosen when the library is loaded.
   All give the same numbers, because nothing here lets the compiler reorder or fuse floating-point operations. */
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define POISE_CLONES __attribute__((target_clones("arch=x86-64-v4", "avx2", "default")))
#else
#define POISE_CLONES
#endif

/* For the small functions that a cloned one calls: inlined, they are compiled for its instruction set. */
#define POISE_INLINE static inline __attribute__((always_inline))

#endif
