//! The little of ELF that is needed before a file is given to the operating system or to a GPU's driver: what kind of
//! file it is, whether all its parts lie inside of it, and the text of its `.modinfo`.

use crate::{Error, Result};

/// `e_machine` of GPU machine code.
pub(crate) const CUDA: u16 = 190;
/// `e_type` of a relocatable object, as kernel modules are.
pub(crate) const RELOCATABLE: u16 = 1;

/// A checked ELF file: its header and its sections lie inside the file.
pub(crate) struct Elf<'a> {
    bytes: &'a [u8],
    /// `e_type`.
    pub kind: u16,
    /// `e_machine`.
    pub machine: u16,
    /// Name, offset and length of each section.
    sections: Vec<(String, usize, usize)>,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(N)?)?;
    Some(field.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b)))
}

impl<'a> Elf<'a> {
    /// Reads the headers of a 64-bit little-endian ELF file.
    ///
    /// Errors: `Format`, saying what is wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<Elf<'a>> {
        if !bytes.starts_with(b"\x7fELF") {
            return Err(Error::format("is not an ELF file"));
        }
        match (bytes.get(4), bytes.get(5)) {
            (Some(2), Some(1)) => {}
            (Some(_), Some(_)) => return Err(Error::format("is no 64-bit little-endian ELF file")),
            _ => return Err(cut()),
        }
        let half = |at| number::<2>(bytes, at).ok_or_else(cut);
        let (kind, machine) = (half(16)? as u16, half(18)? as u16);
        let table = number::<8>(bytes, 40).ok_or_else(cut)? as usize;
        let (entry, count, names) = (half(58)? as usize, half(60)? as usize, half(62)? as usize);
        if count > 0 && entry < 64 {
            return Err(Error::format("has section headers of a wrong size"));
        }
        if count.checked_mul(entry).and_then(|all| all.checked_add(table)).is_none_or(|end| end > bytes.len())
        {
            return Err(cut());
        }
        // Offsets and lengths first: a driver that follows them must not leave the file.
        let mut raw = Vec::with_capacity(count);
        for i in 0..count {
            let header = table.checked_add(i * entry).ok_or_else(cut)?;
            let field = |at: usize| number::<8>(bytes, header.saturating_add(at)).ok_or_else(cut);
            let name = number::<4>(bytes, header).ok_or_else(cut)? as usize;
            let kind = number::<4>(bytes, header.saturating_add(4)).ok_or_else(cut)?;
            let (offset, length) = (field(24)? as usize, field(32)? as usize);
            // The first header names no section, and a section without bits takes no bytes of the file.
            let (offset, length) = if kind == 0 || kind == 8 { (0, 0) } else { (offset, length) };
            if offset.checked_add(length).is_none_or(|end| end > bytes.len()) {
                return Err(cut());
            }
            raw.push((name, offset, length));
        }
        let (start, length) = raw.get(names).map_or((0, 0), |&(_, offset, length)| (offset, length));
        let text = &bytes[start..start + length];
        let name = |at: usize| {
            let rest = text.get(at..).unwrap_or_default();
            let end = rest.iter().position(|&b| b == 0).unwrap_or(rest.len());
            String::from_utf8_lossy(&rest[..end]).into_owned()
        };
        let sections = raw.into_iter().map(|(at, offset, length)| (name(at), offset, length)).collect();
        Ok(Elf { bytes, kind, machine, sections })
    }

    /// The bytes of the section of this name.
    pub fn section(&self, name: &str) -> Option<&'a [u8]> {
        let (_, offset, length) = self.sections.iter().find(|(n, ..)| n == name)?;
        Some(&self.bytes[*offset..offset + length])
    }

    /// The `key=value` texts of `.modinfo`, in order; `None` when there is no such section.
    pub fn modinfo(&self) -> Option<Vec<(String, String)>> {
        let text = self.section(".modinfo")?;
        let pairs = text.split(|&b| b == 0).filter_map(|one| {
            let one = String::from_utf8_lossy(one);
            one.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()))
        });
        Some(pairs.collect())
    }
}

fn cut() -> Error {
    Error::format("is cut short: its headers point beyond its end").advise("copy or build the file anew")
}

/// ELF files made by hand for tests.
#[cfg(test)]
pub(crate) mod made {
    /// An ELF file with these sections.
    pub fn elf(kind: u16, machine: u16, sections: &[(&str, &[u8])]) -> Vec<u8> {
        let mut names = vec![0u8];
        let mut body: Vec<u8> = Vec::new();
        let mut headers = vec![[0u8; 64]];
        let mut put = |name: &str, bytes: &[u8], names: &mut Vec<u8>| {
            let mut h = [0u8; 64];
            h[..4].copy_from_slice(&(names.len() as u32).to_le_bytes());
            h[4] = 1;
            h[24..32].copy_from_slice(&(64 + body.len() as u64).to_le_bytes());
            h[32..40].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
            names.extend(name.as_bytes());
            names.push(0);
            body.extend(bytes);
            headers.push(h);
        };
        for (name, bytes) in sections {
            put(name, bytes, &mut names);
        }
        // Twice, since the table of names holds its own name.
        let mut all = names.clone();
        all.extend(b".shstrtab\0");
        put(".shstrtab", &all, &mut names);
        let mut out = vec![0u8; 64];
        out[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        out[16..18].copy_from_slice(&kind.to_le_bytes());
        out[18..20].copy_from_slice(&machine.to_le_bytes());
        out[40..48].copy_from_slice(&(64 + body.len() as u64).to_le_bytes());
        out[58..60].copy_from_slice(&64u16.to_le_bytes());
        out[60..62].copy_from_slice(&(headers.len() as u16).to_le_bytes());
        out[62..64].copy_from_slice(&(headers.len() as u16 - 1).to_le_bytes());
        out.extend(body);
        headers.iter().for_each(|h| out.extend(h));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_found_and_no_cut_file_is_followed_beyond_its_end() {
        let file = made::elf(RELOCATABLE, 62, &[(".text", b"code"), (".modinfo", b"name=x\0a=b=c\0junk\0")]);
        let elf = Elf::parse(&file).unwrap();
        assert_eq!((elf.kind, elf.machine), (RELOCATABLE, 62));
        assert_eq!(elf.section(".text"), Some(&b"code"[..]));
        assert!(elf.section(".data").is_none());
        let info = elf.modinfo().unwrap();
        assert_eq!(info, [("name".into(), "x".into()), ("a".into(), "b=c".into())]);
        for end in 0..file.len() {
            assert!(Elf::parse(&file[..end]).is_err(), "cut at {end}");
        }
        // Any one byte may be wrong: an error or a file, never a panic.
        for at in 0..file.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut wrong = file.clone();
                wrong[at] = value;
                if let Ok(elf) = Elf::parse(&wrong) {
                    elf.modinfo();
                }
            }
        }
    }
}
