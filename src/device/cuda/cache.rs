//! The part of L2 in which accesses can persist.

use super::context::Context;
use super::info;
use super::types::{LIMIT_PERSISTING_L2, attribute};
use crate::device::CachePart;
use crate::{Error, Result};

/// Into how many slices the part of L2 that may persist is cut: as many as tenants fit side by side by default.
const SLICES: u64 = 4;

/// Equal slices of what may persist; none where GPU or driver know no such thing.
pub(super) fn parts(context: &Context) -> Vec<CachePart> {
    let most = most(context);
    let driver = &context.driver;
    let lacks = ["cuCtxSetLimit", "cuStreamSetAttribute"].iter().any(|name| driver.lacks(name).is_some());
    if lacks || most < SLICES {
        return Vec::new();
    }
    (0..SLICES).map(|_| CachePart { bytes: most / SLICES, units: Vec::new() }).collect()
}

fn most(context: &Context) -> u64 {
    // A driver that does not know the attribute has no such part of L2.
    info::attribute(context, attribute::MAX_PERSISTING_L2).map_or(0, u64::from)
}

/// Sets `bytes` aside and answers what the driver then tells. With 0 whatever persists is let go.
pub(super) fn set_aside(context: &Context, bytes: u64) -> Result<u64> {
    let most = most(context);
    if bytes > most {
        return Err(Error::argument("bytes", format!("{bytes} asked for, this GPU can set {most} aside")));
    }
    let driver = &context.driver;
    let _current = context.enter()?;
    let mut have = 0usize;
    // SAFETY: the context is current, `have` outlives the call.
    unsafe {
        driver.cuCtxSetLimit(LIMIT_PERSISTING_L2, bytes as usize)?;
        if bytes == 0 {
            driver.cuCtxResetPersistingL2Cache()?;
        }
        driver.cuCtxGetLimit(&mut have, LIMIT_PERSISTING_L2)?;
    }
    Ok(have as u64)
}
