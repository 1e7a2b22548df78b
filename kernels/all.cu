// Every kernel in one unit: a module is loaded from one image for the GPU at hand.
#include "attention.cu"
#include "mma.cu"
#include "plain.cu"
#include "rope.cu"
#include "rows.cu"
#include "simple.cu"
#include "tf32.cu"
