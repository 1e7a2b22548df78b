//! Which GPUs the embedded kernels are for, read from their image.

use super::Driver;
use crate::Result;
use std::collections::BTreeMap;

/// Code in a kernel image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Code {
    /// Compute capability: 90 for 9.0.
    pub capability: u32,
    /// PTX, which the driver compiles for this capability and all newer ones, and not machine code.
    pub ptx: bool,
}

impl Code {
    /// Whether a GPU of this capability can run it: machine code runs on its own generation from its minor version on.
    pub fn runs_on(self, capability: u32) -> bool {
        self.capability <= capability && (self.ptx || self.capability / 10 == capability / 10)
    }

    /// `sm_90`, or `compute_90` for PTX.
    pub fn name(self) -> String {
        format!("{}_{}", if self.ptx { "compute" } else { "sm" }, self.capability)
    }
}

const MAGIC: u32 = 0xba55_ed50;
const PTX: u16 = 1;
const ELF: u16 = 2;

/// The codes of a fatbin: a header of 16 bytes (magic, version, own size, size of the rest), then entries, each with a
/// header (kind, version, own size, size of its code, …, capability at byte 28). Reading stops where the image is cut.
pub fn codes(image: &[u8]) -> Vec<Code> {
    let u16_at = |at: usize| Some(u16::from_le_bytes(image.get(at..at + 2)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?));
    let u64_at = |at: usize| Some(u64::from_le_bytes(image.get(at..at + 8)?.try_into().ok()?));
    let mut found = Vec::new();
    let mut entry = |at: usize| -> Option<usize> {
        let (kind, header, size) = (u16_at(at)?, u32_at(at + 4)?, u64_at(at + 8)?);
        let capability = u32_at(at + 28)?;
        if matches!(kind, PTX | ELF) {
            found.push(Code { capability, ptx: kind == PTX });
        }
        let length = u64::from(header).checked_add(size).filter(|&n| n >= 32)?;
        at.checked_add(usize::try_from(length).ok()?)
    };
    if u32_at(0) == Some(MAGIC)
        && let Some(mut at) = u16_at(6).map(usize::from)
    {
        while at < image.len() {
            let Some(next) = entry(at) else { break };
            at = next;
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Generation and well-known members of a capability.
fn generation(capability: u32) -> &'static str {
    match capability {
        75 => "Turing: T4, RTX 20",
        80 => "Ampere: A100, A30",
        86 => "Ampere: A10, A40, RTX 30, RTX A6000",
        87 => "Ampere: Jetson Orin",
        89 => "Ada: L4, L40S, RTX 40",
        90 => "Hopper: H100, H200, GH200",
        100 => "Blackwell: B200, GB200",
        103 => "Blackwell: B300, GB300",
        110 => "Blackwell: Jetson Thor",
        120 => "Blackwell: RTX 50, RTX PRO 6000",
        121 => "Blackwell: DGX Spark",
        _ => "GPUs of this compute capability",
    }
}

impl Driver {
    /// The GPUs that the embedded kernels run on: `sm_90` → its generation, and which of this machine's devices it
    /// serves; `compute_120` for code that newer drivers compile for newer GPUs. A device here that nothing serves has a
    /// line of its own, `cuda:0`. Answers before `initialize` too, then without the devices.
    pub fn supported_gpus(&self) -> Result<BTreeMap<String, String>> {
        let codes = embedded()?;
        let mut out: BTreeMap<_, _> = codes
            .iter()
            .map(|code| {
                let text = match code.ptx {
                    true => "newer GPUs: compiled by their driver".to_owned(),
                    false => generation(code.capability).to_owned(),
                };
                (code.name(), text)
            })
            .collect();
        if !self.is_initialized() {
            return Ok(out);
        }
        for device in self.kernel()?.devices()? {
            if device.kind() != crate::device::DeviceKind::Cuda {
                continue;
            }
            let info = device.info()?;
            let capability = info.compute_major * 10 + info.compute_minor;
            let (name, device) = (info.name, format!("cuda:{}", device.ordinal()));
            // The driver takes machine code before PTX, and the nearest.
            let best = codes.iter().filter(|c| c.runs_on(capability)).max_by_key(|c| (!c.ptx, c.capability));
            match best.and_then(|code| out.get_mut(&code.name())) {
                Some(text) => text.push_str(&format!("; here {device} ({name})")),
                None => {
                    let text = format!("{name}, compute capability {capability}: not supported");
                    out.insert(device, text);
                }
            }
        }
        Ok(out)
    }
}

#[cfg(feature = "cuda")]
fn embedded() -> Result<Vec<Code>> {
    Ok(codes(crate::ops::cuda::image()))
}

#[cfg(not(feature = "cuda"))]
fn embedded() -> Result<Vec<Code>> {
    Err(crate::Error::unsupported("this build of Cogniware has no CUDA support")
        .advise("build it with the feature `cuda`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "cuda")]
    #[test]
    fn the_embedded_image_is_read_to_its_end_and_agrees_with_its_report() {
        let found = codes(crate::ops::cuda::image());
        let report = include_str!("../../kernels/images/resources.txt");
        let mut told: Vec<u32> =
            report.lines().map(|l| l[3..].split(' ').next().unwrap().parse().unwrap()).collect();
        told.dedup();
        let machine: Vec<u32> = found.iter().filter(|c| !c.ptx).map(|c| c.capability).collect();
        assert_eq!(machine, told);
        assert!(found.iter().any(|c| c.ptx), "{found:?}");
    }

    #[test]
    fn what_is_no_image_has_no_codes_and_cut_ones_end_quietly() {
        assert!(codes(b"").is_empty() && codes(&[0; 100]).is_empty());
        let mut image = Vec::new();
        image.extend(MAGIC.to_le_bytes());
        image.extend([1, 0, 16, 0]);
        image.extend(1000u64.to_le_bytes());
        for (kind, capability) in [(ELF, 90u32), (7, 91), (PTX, 120)] {
            let mut entry = vec![0u8; 64];
            entry[..2].copy_from_slice(&kind.to_le_bytes());
            entry[4..8].copy_from_slice(&64u32.to_le_bytes());
            entry[8..16].copy_from_slice(&16u64.to_le_bytes());
            entry[28..32].copy_from_slice(&capability.to_le_bytes());
            image.extend(entry);
            image.extend([0xff; 16]);
        }
        let all = [Code { capability: 90, ptx: false }, Code { capability: 120, ptx: true }];
        assert_eq!(codes(&image), all);
        assert_eq!(codes(&image[..140]), all[..1]);
        // An entry of no length would be read for ever.
        image[16 + 4..16 + 16].fill(0);
        assert_eq!(codes(&image), all[..1]);
        assert!(all[0].runs_on(90) && !all[0].runs_on(89) && !all[0].runs_on(100));
        assert!(all[1].runs_on(121) && !all[1].runs_on(90));
        assert!(Code { capability: 80, ptx: false }.runs_on(86));
    }
}
