//! The compiler in a build without CUDA: there is none.

use super::{Architecture, Cache, CudaSource, Image};
use crate::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An NVRTC library; in a build without CUDA there is none.
pub enum Compiler {}

/// Answers `Unsupported`: this build has no CUDA.
pub fn compile(_: &CudaSource, _: Architecture, _: Option<&Cache>) -> Result<Arc<Image>> {
    Err(none())
}

fn none() -> Error {
    Error::unsupported("this build has no CUDA, so it compiles no CUDA C++")
        .advise("build with the feature \"cuda\"")
}

impl Compiler {
    /// Answers `Unsupported`: this build has no CUDA.
    pub fn find(_: u32) -> Result<Arc<Compiler>> {
        Err(none())
    }

    /// Answers `Unsupported`: this build has no CUDA.
    pub fn open(_: &Path) -> Result<Arc<Compiler>> {
        Err(none())
    }

    /// Its CUDA version.
    pub fn version(&self) -> (u32, u32) {
        match *self {}
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        match *self {}
    }

    /// The capabilities that it compiles for.
    pub fn architectures(&self) -> &[u32] {
        match *self {}
    }

    /// Folders with CUDA's own headers.
    pub fn headers(&self) -> &[PathBuf] {
        match *self {}
    }

    /// Compiles for a device of this architecture.
    pub fn compile(&self, _: &CudaSource, _: Architecture, _: Option<&Cache>) -> Result<Arc<Image>> {
        match *self {}
    }
}
