//! Which instructions the kernels use: found once, or named by `COGNIWARE_CPU_ISA`.

use crate::{Error, Result};
use std::sync::OnceLock;

/// A level of instructions. Each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// What the target's baseline has.
    Scalar,
    /// AVX2, FMA and F16C.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// AVX-512 with VNNI.
    Avx512Vnni,
}

impl Isa {
    /// All levels, lowest first.
    pub const ALL: [Isa; 4] = [Isa::Scalar, Isa::Avx2, Isa::Avx512, Isa::Avx512Vnni];

    /// The name used in `COGNIWARE_CPU_ISA`.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Avx512Vnni => "avx512-vnni",
        }
    }

    /// The highest level that this processor and its operating system support.
    pub fn highest() -> Isa {
        static HIGHEST: OnceLock<Isa> = OnceLock::new();
        *HIGHEST.get_or_init(detect)
    }

    /// The level to use: what `COGNIWARE_CPU_ISA` names, else the highest.
    ///
    /// Errors: the name is unknown, or the processor lacks that level.
    pub fn choose() -> Result<Isa> {
        match std::env::var("COGNIWARE_CPU_ISA") {
            Ok(name) if !name.is_empty() => Isa::parse(&name)?.checked(),
            _ => Ok(Isa::highest()),
        }
    }

    /// The level of this name.
    pub fn parse(name: &str) -> Result<Isa> {
        Isa::ALL.into_iter().find(|isa| isa.name() == name).ok_or_else(|| {
            Error::argument("COGNIWARE_CPU_ISA", format!("`{name}` is no instruction level"))
                .advise("use scalar, avx2, avx512 or avx512-vnni")
        })
    }

    /// Itself, if the processor has it.
    pub fn checked(self) -> Result<Isa> {
        if self <= Isa::highest() {
            return Ok(self);
        }
        Err(Error::unsupported(format!("this processor has no {}", self.name()))
            .advise(format!("its highest level is {}", Isa::highest().name())))
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Isa {
    use std::arch::is_x86_feature_detected as has;
    if !(has!("avx2") && has!("fma") && has!("f16c")) {
        Isa::Scalar
    } else if !(has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl")) {
        Isa::Avx2
    } else if !has!("avx512vnni") {
        Isa::Avx512
    } else {
        Isa::Avx512Vnni
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Isa {
    Isa::Scalar
}

/// Whether the processor multiplies bf16 numbers two at a time (AVX-512 BF16).
pub fn has_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        Isa::highest() >= Isa::Avx512 && std::arch::is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// Defines a function that is compiled once for each level from the same plain loops. Rust never contracts a product
/// and a sum, so all versions give the same bits.
macro_rules! by_level {
    ($(#[$meta:meta])* $vis:vis unsafe fn $name:ident($($arg:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis unsafe fn $name(isa: $crate::ops::cpu::isa::Isa, $($arg: $type),*) {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            unsafe fn body($($arg: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            #[allow(clippy::too_many_arguments)]
            unsafe fn avx2($($arg: $type),*) {
                // SAFETY: the caller of the outer function keeps the body's contract.
                unsafe { body($($arg),*) }
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
            #[allow(clippy::too_many_arguments)]
            unsafe fn avx512($($arg: $type),*) {
                // SAFETY: as above.
                unsafe { body($($arg),*) }
            }

            // SAFETY: as above; the level was checked when it was chosen.
            unsafe {
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    $crate::ops::cpu::isa::Isa::Avx2 => avx2($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::ops::cpu::isa::Isa::Avx512 | $crate::ops::cpu::isa::Isa::Avx512Vnni => avx512($($arg),*),
                    _ => body($($arg),*),
                }
            }
        }
    };
}
pub(crate) use by_level;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for isa in Isa::ALL {
            assert_eq!(Isa::parse(isa.name()).unwrap(), isa);
        }
        assert!(Isa::parse("neon").is_err());
        assert_eq!(Isa::Scalar.checked().unwrap(), Isa::Scalar);
    }
}
