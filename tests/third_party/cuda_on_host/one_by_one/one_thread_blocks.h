// The threads of these blocks share out a list of work; alone in its block, a thread
// does all of it.
#pragma once
#include "antialias.h"
#undef AA_ANALYSIS_KERNEL_THREADS_PER_BLOCK
#undef AA_GRAD_KERNEL_THREADS_PER_BLOCK
#define AA_ANALYSIS_KERNEL_THREADS_PER_BLOCK 1
#define AA_GRAD_KERNEL_THREADS_PER_BLOCK 1
