//! Images: code that a GPU's driver loads.

use super::elf::{self, Elf};
use super::parameters::{KernelParameter, read_ptx};
use crate::{Error, Result};
use std::collections::BTreeMap;

/// What an image is, told by its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageKind {
    /// Text of NVIDIA's virtual machine language, which the driver compiles.
    Ptx,
    /// Machine code for one architecture.
    Cubin,
    /// Several of both in one file; the driver picks.
    Fatbin,
}

impl ImageKind {
    /// The name that lists show.
    pub fn name(self) -> &'static str {
        match self {
            ImageKind::Ptx => "ptx",
            ImageKind::Cubin => "cubin",
            ImageKind::Fatbin => "fatbin",
        }
    }

    /// The kind of these bytes, which are checked to be whole: the driver is given no length.
    ///
    /// Errors: `Format` when they are none of the three, or are cut short.
    pub fn of(bytes: &[u8]) -> Result<ImageKind> {
        match bytes {
            [] => Err(Error::format("is empty")),
            [0x7f, b'E', b'L', b'F', ..] => match Elf::parse(bytes)?.machine {
                elf::CUDA => Ok(ImageKind::Cubin),
                _ => Err(Error::format("is an ELF file, but not of GPU code")),
            },
            [0x50, 0xed, 0x55, 0xba, rest @ ..] => {
                // Two bytes of version, two of the header's length, eight of what follows it.
                let field = |at: usize, n: usize| {
                    let part = rest.get(at..at + n)?;
                    Some(part.iter().rev().fold(0u64, |sum, &b| sum << 8 | u64::from(b)))
                };
                let need = field(2, 2).zip(field(4, 8)).and_then(|(header, body)| body.checked_add(header));
                if need.is_none_or(|n| n > bytes.len() as u64) {
                    return Err(Error::format("is a fatbin that is cut short").advise("build the file anew"));
                }
                Ok(ImageKind::Fatbin)
            }
            text if ptx(text) => Ok(ImageKind::Ptx),
            _ => Err(Error::format("is neither PTX nor a cubin nor a fatbin")
                .advise("CUDA C++ source is compiled, not loaded: give it as source")),
        }
    }
}

/// PTX is text whose first directive is `.version`; comments may stand before it.
fn ptx(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    let Ok(mut text) = std::str::from_utf8(bytes) else { return false };
    if text.contains('\0') {
        return false;
    }
    loop {
        text = text.trim_start();
        let rest = if let Some(comment) = text.strip_prefix("//") {
            comment.split_once('\n').map(|(_, rest)| rest)
        } else if let Some(comment) = text.strip_prefix("/*") {
            comment.split_once("*/").map(|(_, rest)| rest)
        } else {
            return text.starts_with(".version");
        };
        match rest {
            Some(rest) => text = rest,
            None => return false,
        }
    }
}

/// An image with what is known of its making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// What it is.
    pub kind: ImageKind,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The names that name expressions have in it: `add<float>` is `_Z3addIfEvPT_`.
    pub lowered: BTreeMap<String, String>,
    /// What its kernels take, by their names in it, as far as PTX tells; empty for machine code that was given.
    pub parameters: BTreeMap<String, Vec<KernelParameter>>,
    /// What the compiler said, warnings for the most part; empty for images that were given.
    pub log: String,
    /// The architecture that it was compiled for, such as `sm_90`; empty for images that were given.
    pub architecture: String,
    /// Whether it came out of a cache and was not compiled now.
    pub cached: bool,
}

impl Image {
    /// An image that was given.
    ///
    /// Errors: as [`ImageKind::of`].
    pub fn new(bytes: Vec<u8>) -> Result<Image> {
        let kind = ImageKind::of(&bytes)?;
        let parameters = match kind {
            ImageKind::Ptx => read_ptx(&String::from_utf8_lossy(&bytes)),
            _ => BTreeMap::new(),
        };
        Ok(Image {
            kind,
            parameters,
            bytes,
            lowered: BTreeMap::new(),
            log: String::new(),
            architecture: String::new(),
            cached: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::made;
    use super::*;

    #[test]
    fn images_are_told_apart_by_content() {
        let fatbin = |length: u8| {
            [&[0x50, 0xed, 0x55, 0xba, 1, 0, 16, 0, length, 0, 0, 0, 0, 0, 0, 0], &[0; 8][..]].concat()
        };
        for (bytes, kind) in [
            (made::elf(2, elf::CUDA, &[]), ImageKind::Cubin),
            (fatbin(8), ImageKind::Fatbin),
            (b"\n// x\n/* y\n */ .version 8.0\n".to_vec(), ImageKind::Ptx),
            (b".version 8.0\n\0".to_vec(), ImageKind::Ptx),
        ] {
            assert_eq!(ImageKind::of(&bytes).unwrap(), kind);
        }
        for (bytes, said) in [
            (vec![], "empty"),
            (fatbin(9), "cut short"),
            (made::elf(2, elf::CUDA, &[])[..70].to_vec(), "cut short"),
            (made::elf(2, 62, &[]), "not of GPU code"),
            (b"\x50\xed\x55\xba".to_vec(), "cut short"),
            (b"hello .version".to_vec(), "neither"),
            (b"__global__ void k() {}".to_vec(), "neither"),
            (b".version 8\0.0".to_vec(), "neither"),
        ] {
            let e = ImageKind::of(&bytes).unwrap_err();
            assert!(e.message().contains(said), "{e}");
        }
    }
}
