//! Which instructions the ternary kernels use.

use crate::ops::cpu::Isa;
use std::sync::OnceLock;

/// A set of instructions that there are kernels for. They are not a line: AVX-VNNI and AVX-512 are found one without the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// What the target's baseline has.
    Scalar,
    /// SSE4.1.
    Sse41,
    /// AVX2.
    Avx2,
    /// AVX2 with AVX-VNNI.
    AvxVnni,
    /// AVX-512 F, BW, DQ and VL with VNNI.
    Avx512Vnni,
    /// The same, and tiles of bytes (AMX) for many tokens.
    Amx,
}

/// What a processor and its operating system have. A plain value, so that choosing can be tested for any processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// SSE4.1 and SSSE3.
    pub sse41: bool,
    /// AVX2.
    pub avx2: bool,
    /// AVX-VNNI (the VEX form).
    pub avx_vnni: bool,
    /// AVX-512 F, BW, DQ, VL and VNNI.
    pub avx512_vnni: bool,
    /// AMX tiles and bytes, which the operating system lets this process use.
    pub amx: bool,
}

impl Features {
    /// Those of this machine that kernels bounded by `isa` may use, found once. Tiles are asked of the operating system for the whole
    /// process when they may be used: from then on it saves 8 KiB more of a thread, so alternate signal stacks must be larger.
    pub fn here(isa: Isa) -> Features {
        static HERE: OnceLock<Features> = OnceLock::new();
        static TILES: OnceLock<bool> = OnceLock::new();
        let has = *HERE.get_or_init(detect);
        let amx = isa >= Isa::Avx512Vnni && has.avx512_vnni && *TILES.get_or_init(amx);
        Features { amx, ..has }.within(isa)
    }

    /// What is left when kernels may use no more than a level of the other products.
    pub fn within(self, isa: Isa) -> Features {
        Features {
            sse41: self.sse41 && isa > Isa::Scalar,
            avx2: self.avx2 && isa >= Isa::Avx2,
            avx_vnni: self.avx_vnni && isa >= Isa::Avx2,
            avx512_vnni: self.avx512_vnni && isa >= Isa::Avx512Vnni,
            amx: self.amx && isa >= Isa::Avx512Vnni,
        }
    }
}

impl Level {
    /// All, from the slowest to the fastest.
    pub const ALL: [Level; 6] =
        [Level::Scalar, Level::Sse41, Level::Avx2, Level::AvxVnni, Level::Avx512Vnni, Level::Amx];

    /// Whether a processor with these features has it.
    pub fn is_in(self, has: Features) -> bool {
        match self {
            Level::Scalar => true,
            Level::Sse41 => has.sse41,
            Level::Avx2 => has.avx2,
            Level::AvxVnni => has.avx2 && has.avx_vnni,
            Level::Avx512Vnni => has.avx512_vnni,
            Level::Amx => has.avx512_vnni && has.amx,
        }
    }

    /// The fastest that a processor with these features has.
    pub fn best(has: Features) -> Level {
        Level::ALL.into_iter().rev().find(|level| level.is_in(has)).unwrap_or(Level::Scalar)
    }

    /// The fastest of this machine within a level of the other products.
    pub fn here(isa: Isa) -> Level {
        Level::best(Features::here(isa))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Level::Scalar => "scalar",
            Level::Sse41 => "sse4.1",
            Level::Avx2 => "avx2",
            Level::AvxVnni => "avx-vnni",
            Level::Avx512Vnni => "avx512-vnni",
            Level::Amx => "amx",
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Features {
    use std::arch::is_x86_feature_detected as has;
    let avx512 = has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
    Features {
        sse41: has!("sse4.1") && has!("ssse3"),
        avx2: has!("avx2"),
        avx_vnni: has!("avxvnni"),
        avx512_vnni: avx512 && has!("avx512vnni"),
        amx: false, // asked for apart
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Features {
    Features::default()
}

/// Tiles must be asked for: the kernel makes room for them in what it saves of a thread. Asking where there are none is refused.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn amx() -> bool {
    const REQUEST: libc::c_long = 0x1023; // ARCH_REQ_XCOMP_PERM
    const TILES: libc::c_long = 18; // XFEATURE_XTILEDATA
    let leaf = std::arch::x86_64::__cpuid_count(7, 0);
    let tiles_and_bytes = leaf.edx >> 24 & 3 == 3;
    // SAFETY: a system call about this process's own state, which it may refuse.
    tiles_and_bytes && unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST, TILES) } == 0
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn amx() -> bool {
    false
}
