//! What a program is made of: an image, or CUDA C++ source and how it is to be compiled.

use super::ImageKind;
use crate::device::DeviceInfo;
use crate::{Error, Result};
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Longer sources and headers are refused.
const MOST_TEXT: usize = 64 << 20;

/// What a program is loaded from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// PTX, a cubin or a fatbin, told by its content.
    Image(Vec<u8>),
    /// CUDA C++, which NVRTC compiles.
    Cuda(CudaSource),
}

/// Larger files are not read.
const MOST_FILE: u64 = 1 << 30;

impl Source {
    /// What these bytes are: an image when they begin as one, else CUDA C++ that messages call `name`.
    ///
    /// Errors: `Format` for an image that is cut short and for what is neither.
    pub fn of_bytes(name: &str, bytes: Vec<u8>) -> Result<Source> {
        match ImageKind::of(&bytes) {
            Ok(_) => Ok(Source::Image(bytes)),
            Err(e) if matches!(bytes[..], [] | [0x7f, ..] | [0x50, 0xed, ..]) => Err(e),
            Err(_) => match String::from_utf8(bytes) {
                Ok(text) if !text.contains('\0') => Ok(Source::Cuda(CudaSource::new(name, text))),
                _ => Err(Error::format("is neither PTX, a cubin, a fatbin nor the text of CUDA C++")),
            },
        }
    }

    /// A file, told by its content as [`Source::of_bytes`] does. Headers beside a source are found.
    ///
    /// Errors: `NotFound`, `Io`; `InvalidArgument` for a folder and for more than 1 GiB; `Format`.
    pub fn read(path: &Path) -> Result<Source> {
        let place = format!("argument `path`: {}", path.display());
        let file = std::fs::File::open(path).map_err(|e| Error::io(&place, e))?;
        if !file.metadata().map_err(|e| Error::io(&place, e))?.is_file() {
            return Err(Error::argument("path", format!("{} is no regular file", path.display())));
        }
        let mut bytes = Vec::new();
        file.take(MOST_FILE + 1).read_to_end(&mut bytes).map_err(|e| Error::io(&place, e))?;
        if bytes.len() as u64 > MOST_FILE {
            return Err(Error::argument("path", format!("{} is larger than any program", path.display())));
        }
        Source::of_bytes(&path.to_string_lossy(), bytes).map_err(|e| e.within(place))
    }
}

/// CUDA C++ source with what its compilation depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CudaSource {
    /// What the compiler calls it in messages, such as `add.cu`; its folder is searched for headers too.
    pub name: String,
    /// The source.
    pub text: String,
    /// Options of NVRTC, given to it as they are: `--use_fast_math`, `-DN=4`, `--std=c++20`. The architecture is the
    /// device's; `--gpu-architecture=` (`-arch=`) may ask for another form of it, such as `sm_90a` or `compute_80`.
    pub options: Vec<String>,
    /// Folders in which headers are looked for, in this order; after them those of the compiler's own toolkit.
    pub include_paths: Vec<PathBuf>,
    /// Headers in memory: the name as `#include` has it, and the text.
    pub headers: Vec<(String, String)>,
    /// Kernels that are wanted by an expression of C++: `scale<float, 4>`, `physics::step`. [`super::Program::kernel`]
    /// takes the same text.
    pub expressions: Vec<String>,
}

impl CudaSource {
    /// A source with nothing beside its text.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> CudaSource {
        CudaSource { name: name.into(), text: text.into(), ..CudaSource::default() }
    }

    /// The same with one more option.
    #[must_use]
    pub fn option(mut self, option: impl Into<String>) -> CudaSource {
        self.options.push(option.into());
        self
    }

    /// The same with one more folder of headers.
    #[must_use]
    pub fn include_path(mut self, folder: impl Into<PathBuf>) -> CudaSource {
        self.include_paths.push(folder.into());
        self
    }

    /// The same with one more header in memory.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, text: impl Into<String>) -> CudaSource {
        self.headers.push((name.into(), text.into()));
        self
    }

    /// The same with one more name expression.
    #[must_use]
    pub fn expression(mut self, expression: impl Into<String>) -> CudaSource {
        self.expressions.push(expression.into());
        self
    }

    /// Errors: texts that no compiler can be given, by the name of the field.
    pub(super) fn check(&self) -> Result<()> {
        let zero = |argument: &str, text: &str| match text.contains('\0') {
            true => Err(Error::argument(argument, "holds a zero byte")),
            false => Ok(()),
        };
        if self.text.trim().is_empty() {
            return Err(Error::argument("source", "is empty"));
        }
        let texts = self.headers.iter().map(|(_, text)| text.len()).chain([self.text.len()]);
        if texts.clone().any(|n| n > MOST_TEXT) {
            return Err(Error::argument("source", format!("has a text of more than {MOST_TEXT} bytes")));
        }
        zero("name", &self.name)?;
        zero("source", &self.text)?;
        for option in &self.options {
            zero("options", option)?;
            if option.trim().is_empty() {
                return Err(Error::argument("options", "one is empty"));
            }
        }
        for folder in &self.include_paths {
            let text = folder.to_str();
            zero(
                "include_paths",
                text.ok_or_else(|| {
                    Error::argument("include_paths", format!("{} is not UTF-8", folder.display()))
                })?,
            )?;
        }
        for (at, (name, text)) in self.headers.iter().enumerate() {
            if name.is_empty() {
                return Err(Error::argument("headers", format!("header {at} has no name")));
            }
            if self.headers[..at].iter().any(|(other, _)| other == name) {
                return Err(Error::argument("headers", format!("{name:?} is given twice")));
            }
            zero("headers", name)?;
            zero("headers", text)?;
        }
        for expression in &self.expressions {
            zero("expressions", expression)?;
            if expression.trim().is_empty() {
                return Err(Error::argument("expressions", "one is empty"));
            }
        }
        Ok(())
    }

    /// The architecture that an option asks for, and the options without that one.
    ///
    /// Errors: an architecture that is none, or two of them.
    pub(super) fn architecture(&self) -> Result<(Option<Architecture>, Vec<&str>)> {
        let (mut asked, mut rest) = (None, Vec::new());
        let mut options = self.options.iter();
        while let Some(option) = options.next() {
            let option = option.as_str();
            let value = match option {
                "--gpu-architecture" | "-arch" => Some(options.next().map_or("", |v| v.as_str())),
                _ => option.strip_prefix("--gpu-architecture=").or_else(|| option.strip_prefix("-arch=")),
            };
            match value {
                None => rest.push(option),
                Some(_) if asked.is_some() => {
                    return Err(Error::argument(
                        "options",
                        format!("{option}: the architecture is given twice"),
                    ));
                }
                Some(value) => {
                    asked = Some(
                        Architecture::parse(value.trim())
                            .map_err(|e| Error::argument("options", format!("{option}: {}", e.message())))?,
                    );
                }
            }
        }
        Ok((asked, rest))
    }
}

/// What code is compiled for: `sm_90`, `sm_90a` (machine code) or `compute_80` (PTX).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Architecture {
    /// The capability as one number: 90 for 9.0.
    pub number: u32,
    /// `a` or `f`: features of this architecture, or of its family, alone.
    pub feature: Option<char>,
    /// PTX instead of machine code.
    pub ptx: bool,
}

impl Architecture {
    /// The architecture of a GPU.
    ///
    /// Errors: the device has none, as the CPU device.
    pub fn of(info: &DeviceInfo) -> Result<Architecture> {
        match info.compute_major * 10 + info.compute_minor {
            0 => Err(Error::unsupported(format!("{} is no GPU that CUDA C++ is compiled for", info.name))),
            number => Ok(Architecture { number, feature: None, ptx: false }),
        }
    }

    /// `sm_90`, `sm_90a`, `compute_80`.
    pub fn parse(text: &str) -> Result<Architecture> {
        let none =
            || Error::argument("architecture", format!("{text:?} is not like sm_90, sm_90a or compute_80"));
        let (ptx, rest) = match (text.strip_prefix("sm_"), text.strip_prefix("compute_")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err(none()),
        };
        let digits = rest.trim_end_matches(['a', 'f']);
        let feature = match rest.len() - digits.len() {
            0 => None,
            1 => rest.chars().last(),
            _ => return Err(none()),
        };
        match digits.parse() {
            Ok(number) if (10..1000).contains(&number) && digits.bytes().all(|b| b.is_ascii_digit()) => {
                Ok(Architecture { number, feature, ptx })
            }
            _ => Err(none()),
        }
    }

    /// The architecture to compile for with a compiler that knows those of `known`, so that the code runs on this one:
    /// itself, else machine code of a lower one of its generation, else PTX of a lower generation.
    ///
    /// Errors: `Unsupported` where the compiler knows none that would run.
    pub(super) fn fit(self, known: &[u32], compiler: &str) -> Result<Architecture> {
        if known.is_empty() || known.contains(&self.number) || self.feature.is_some() {
            return Ok(self);
        }
        let lower = |n: &&u32| **n < self.number;
        let same = known.iter().filter(lower).filter(|n| **n / 10 == self.number / 10).max();
        match (same, known.iter().filter(lower).max()) {
            (Some(&number), _) => Ok(Architecture { number, ..self }),
            (None, Some(&number)) => Ok(Architecture { number, ptx: true, ..self }),
            (None, None) => {
                let least = known.iter().min().unwrap_or(&0);
                Err(Error::unsupported(format!(
                    "{compiler} compiles for sm_{least} and newer, not for {self}"
                ))
                .advise("install the NVRTC of an older CUDA, or name one in COGNIWARE_NVRTC"))
            }
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", if self.ptx { "compute" } else { "sm" }, self.number)?;
        self.feature.map_or(Ok(()), |c| write!(f, "{c}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Status;

    #[test]
    fn architectures_are_read_and_fitted() {
        for text in ["sm_90", "sm_90a", "compute_80", "sm_100f", "sm_120"] {
            assert_eq!(Architecture::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "sm_", "sm_9", "90", "sm_90aa", "sm_90x", "sm_+90", "sm_99999999999"] {
            assert!(Architecture::parse(text).is_err(), "{text}");
        }
        let known = [75, 80, 86, 90];
        let fit = |text: &str| Architecture::parse(text).unwrap().fit(&known, "NVRTC").map(|a| a.to_string());
        assert_eq!(fit("sm_90").unwrap(), "sm_90");
        assert_eq!(fit("sm_89").unwrap(), "sm_86");
        assert_eq!(fit("sm_121").unwrap(), "compute_90");
        assert!(fit("sm_61").unwrap_err().message().contains("sm_75"));
        assert_eq!(Architecture::parse("sm_61").unwrap().fit(&[], "").unwrap().number, 61);
    }

    #[test]
    fn an_option_may_choose_the_form_of_the_architecture() {
        let source = CudaSource::new("a.cu", "x").option("-DA").option("-arch=sm_90a").option("-DB");
        let (asked, rest) = source.architecture().unwrap();
        assert_eq!((asked.unwrap().to_string().as_str(), rest), ("sm_90a", vec!["-DA", "-DB"]));
        let source = CudaSource::new("a.cu", "x").option("--gpu-architecture").option("compute_80");
        assert!(source.architecture().unwrap().0.unwrap().ptx);
        for wrong in ["-arch=native", "--gpu-architecture=", "-arch"] {
            let e = CudaSource::new("a.cu", "x").option(wrong).architecture().unwrap_err();
            assert!(e.message().contains("`options`") && e.message().contains(wrong), "{e}");
        }
        assert!(source.option("-arch=sm_90").architecture().is_err());
    }

    #[test]
    fn files_are_told_apart_by_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Source::read(&path)
        };
        assert_eq!(read(b".version 8.0\n").unwrap(), Source::Image(b".version 8.0\n".to_vec()));
        let Source::Cuda(source) = read(b"__global__ void k() {}").unwrap() else { panic!("no source") };
        assert_eq!(source.name, path.to_str().unwrap());
        for wrong in [&b""[..], b"\x7fELF", b"\x50\xed\x55\xba", b"\xff\xfe", b"a\0b"] {
            let e = read(wrong).unwrap_err();
            assert!(e.status() == Status::Format && e.message().contains("`path`"), "{e}");
        }
        assert_eq!(Source::read(folder.path()).unwrap_err().status(), Status::InvalidArgument);
        assert_eq!(Source::read(&folder.path().join("none")).unwrap_err().status(), Status::NotFound);
    }

    #[test]
    fn texts_that_cannot_be_compiled_are_named() {
        let good = CudaSource::new("a.cu", "x");
        good.check().unwrap();
        for (wrong, said) in [
            (CudaSource::new("a.cu", " \n"), "`source`"),
            (CudaSource::new("a.cu", "x\0"), "`source`"),
            (CudaSource::new("a\0", "x"), "`name`"),
            (good.clone().option(""), "`options`"),
            (good.clone().option("-D\0"), "`options`"),
            (good.clone().header("", "y"), "`headers`"),
            (good.clone().header("h", "y").header("h", "z"), "twice"),
            (good.clone().expression(" "), "`expressions`"),
            (good.clone().include_path("/a\0b"), "`include_paths`"),
        ] {
            let e = wrong.check().unwrap_err();
            assert!(e.message().contains(said), "{e}");
        }
    }
}
