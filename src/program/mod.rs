//! Kernels by name: the built-in ones, host functions of the application, and programs that it brings as images or source.
