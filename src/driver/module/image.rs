//! What a module file is, told by its content.

use crate::program::{CUDA, Elf, ImageKind};
use crate::{Error, Result};

/// The kinds of file that can be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A module of the operating system's kernel, as it is or compressed.
    Kernel(Packing),
    /// Text of NVIDIA's virtual machine language.
    Ptx,
    /// Machine code of a GPU.
    Cubin,
    /// Several of both in one file.
    Fatbin,
}

/// How a kernel module is packed; the kernel unpacks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not at all: `.ko`.
    Plain,
    /// `.ko.xz`
    Xz,
    /// `.ko.zst`
    Zstd,
    /// `.ko.gz`
    Gzip,
}

impl Packing {
    /// The name that the kernel has for it.
    pub fn name(self) -> &'static str {
        match self {
            Packing::Plain => "none",
            Packing::Xz => "xz",
            Packing::Zstd => "zstd",
            Packing::Gzip => "gzip",
        }
    }
}

impl Kind {
    /// The name that lists show.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Kernel(_) => "kernel",
            Kind::Ptx => "ptx",
            Kind::Cubin => "cubin",
            Kind::Fatbin => "fatbin",
        }
    }
}

/// The kind of a file with these bytes. GPU images are checked to be whole: the driver is given no length.
///
/// Errors: `Format` when it is none of them, or is cut short.
pub fn detect(bytes: &[u8]) -> Result<Kind> {
    match bytes {
        [] => Err(Error::format("is empty")),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Ok(Kind::Kernel(Packing::Xz)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Kind::Kernel(Packing::Zstd)),
        [0x1f, 0x8b, ..] => Ok(Kind::Kernel(Packing::Gzip)),
        [0x7f, b'E', b'L', b'F', ..] if Elf::parse(bytes)?.machine != CUDA => {
            Ok(Kind::Kernel(Packing::Plain))
        }
        _ => match ImageKind::of(bytes) {
            Ok(ImageKind::Ptx) => Ok(Kind::Ptx),
            Ok(ImageKind::Cubin) => Ok(Kind::Cubin),
            Ok(ImageKind::Fatbin) => Ok(Kind::Fatbin),
            // What begins as an image, but is none.
            Err(e) if matches!(bytes, [] | [0x7f, ..] | [0x50, 0xed, ..]) => Err(e),
            Err(_) => Err(Error::format("is neither a kernel module nor PTX, a cubin or a fatbin").advise(
                "accepted are .ko, .ko.xz, .ko.zst, .ko.gz, .ptx, .cubin and .fatbin, told by their content",
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::made;

    #[test]
    fn files_are_told_apart_by_content() {
        let fatbin = |length: u8| {
            [&[0x50, 0xed, 0x55, 0xba, 1, 0, 16, 0, length, 0, 0, 0, 0, 0, 0, 0], &[0; 8][..]].concat()
        };
        for (bytes, kind) in [
            (b"\xfd7zXZ\0rest".to_vec(), Kind::Kernel(Packing::Xz)),
            (b"\x28\xb5\x2f\xfdrest".to_vec(), Kind::Kernel(Packing::Zstd)),
            (b"\x1f\x8brest".to_vec(), Kind::Kernel(Packing::Gzip)),
            (made::elf(1, 62, &[]), Kind::Kernel(Packing::Plain)),
            (made::elf(2, CUDA, &[]), Kind::Cubin),
            (fatbin(8), Kind::Fatbin),
            (b"\n// x\n/* y\n */ .version 8.0\n".to_vec(), Kind::Ptx),
            (b".version 8.0\n\0".to_vec(), Kind::Ptx),
        ] {
            assert_eq!(detect(&bytes).unwrap(), kind);
        }
        for (bytes, said) in [
            (vec![], "empty"),
            (fatbin(9), "cut short"),
            (made::elf(2, CUDA, &[])[..70].to_vec(), "cut short"),
            (b"\x50\xed\x55\xba".to_vec(), "cut short"),
            (b"hello .version".to_vec(), "neither"),
            (b"// .version 8.0".to_vec(), "neither"),
            (b".version 8\0.0".to_vec(), "neither"),
        ] {
            let e = detect(&bytes).unwrap_err();
            assert!(e.status() == crate::Status::Format && e.message().contains(said), "{e}");
        }
    }
}
