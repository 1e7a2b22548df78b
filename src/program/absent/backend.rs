//! Programs in a build without CUDA: there are none.

use super::kernel::KernelAttributes;
use super::{Image, Launch};
use crate::device::{Device, Stream};
use crate::{Error, Result};
use std::ffi::c_void;
use std::sync::Arc;

pub(super) enum Loaded {}
pub(super) enum Entry {}

fn none() -> Error {
    Error::unsupported("this build has no CUDA device, which PTX, cubins, fatbins and CUDA C++ need")
        .advise("register a host function of the same name, or build with the feature \"cuda\"")
}

pub(super) fn driver_version(_: &dyn Device) -> Result<u32> {
    Err(none())
}

impl Loaded {
    pub fn load(_: &Arc<dyn Device>, _: &Image) -> Result<Loaded> {
        Err(none())
    }

    pub fn names(&self) -> Result<Vec<String>> {
        match *self {}
    }

    pub fn entry(&self, _: &str) -> Result<Entry> {
        match *self {}
    }
}

impl Entry {
    pub fn attributes(&self) -> Result<KernelAttributes> {
        match *self {}
    }

    pub fn parameters(&self) -> Result<Option<Vec<usize>>> {
        match *self {}
    }

    pub fn allow_shared(&self, _: u32) -> Result<()> {
        match *self {}
    }

    pub fn occupancy(&self, _: u32, _: u32) -> Result<u32> {
        match *self {}
    }

    pub unsafe fn launch(&self, _: &dyn Stream, _: &Launch, _: &mut [*mut c_void]) -> Result<()> {
        match *self {}
    }
}
