//! Which instruction levels a processor may be given. A level is offered only when every feature that its code was
//! compiled for is there, so that no kernel can meet an instruction that the processor lacks.

use crate::ops::cpu::isa::Isa;

/// A set of processor features that kernels are compiled for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(u16);

/// Every feature with its name, by bit.
const NAMES: [&str; 8] = ["avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni"];
const AVX2: u16 = 0b111;
const AVX512: u16 = AVX2 | 0b111_1000;

impl Features {
    /// What this processor and its operating system have, lowered to what `COGNIWARE_CPU_ISA` allows, if it names a
    /// level that is there.
    pub fn detect() -> Features {
        let highest = Isa::choose().unwrap_or_else(|_| Isa::highest());
        Features::required(highest.min(Isa::highest()))
    }

    /// The features named, those that nobody knows left out.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Features {
        let bit = |name: &str| NAMES.iter().position(|n| *n == name).map_or(0, |at| 1 << at);
        Features(names.into_iter().fold(0, |bits, name| bits | bit(name)))
    }

    /// What code of this level may use.
    pub fn required(level: Isa) -> Features {
        Features(match level {
            Isa::Scalar => 0,
            Isa::Avx2 => AVX2,
            Isa::Avx512 => AVX512,
            Isa::Avx512Vnni => AVX512 | 0b1000_0000,
        })
    }

    /// The same without those of `masked`.
    #[must_use]
    pub fn without(self, masked: Features) -> Features {
        Features(self.0 & !masked.0)
    }

    /// Whether all of `other` are here.
    pub fn include(self, other: Features) -> bool {
        self.0 & other.0 == other.0
    }

    /// The levels whose code may run, lowest first; the scalar one always may.
    pub fn levels(self) -> Vec<Isa> {
        Isa::ALL.into_iter().filter(|level| self.include(Features::required(*level))).collect()
    }

    /// The highest of [`Features::levels`].
    pub fn highest(self) -> Isa {
        self.levels().last().copied().unwrap_or(Isa::Scalar)
    }
}

/// The next lower level; `None` below the scalar one.
pub fn below(level: Isa) -> Option<Isa> {
    Isa::ALL.into_iter().rev().find(|l| *l < level)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every processor that could be: whatever is masked, no level is offered that lacks one of its features.
    #[test]
    fn no_level_is_offered_without_its_features() {
        for bits in 0..1u16 << NAMES.len() {
            let features = Features(bits);
            for level in features.levels() {
                assert_eq!(Features::required(level).0 & !bits, 0, "{level:?} with {bits:b}");
            }
            assert!(features.include(Features::required(features.highest())));
        }
        assert_eq!(Features(0).levels(), [Isa::Scalar]);
    }

    #[test]
    fn a_masked_feature_takes_its_levels_away() {
        let all = Features::required(Isa::Avx512Vnni);
        for (masked, highest) in [
            ("avx512vnni", Isa::Avx512),
            ("avx512bw", Isa::Avx2),
            ("f16c", Isa::Scalar),
            ("fma", Isa::Scalar),
            ("unknown", Isa::Avx512Vnni),
        ] {
            assert_eq!(all.without(Features::of([masked])).highest(), highest, "{masked}");
        }
        assert!(Features::detect().highest() <= Isa::highest());
        assert_eq!((below(Isa::Avx2), below(Isa::Scalar)), (Some(Isa::Scalar), None));
    }
}
