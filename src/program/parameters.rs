//! What kernels take, read from PTX: the driver tells the sizes of parameters, but not what they are.

use crate::ops::tensor::Argument;
use std::collections::BTreeMap;

/// Kernels and parameters beyond these are not read.
const MOST_KERNELS: usize = 65_536;
const MOST_PARAMETERS: usize = 4096;

/// What a parameter is, as far as the image tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Nothing but its size is known: structs, small and untyped values, and every parameter of machine code alone.
    Unknown,
    /// An integer; with 64 bits it may be an address too.
    Integer,
    /// A floating-point number.
    Float,
    /// An address.
    Pointer,
}

/// A parameter of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelParameter {
    /// Its size in bytes.
    pub bytes: usize,
    /// What it is.
    pub class: Class,
}

impl KernelParameter {
    /// A parameter of which the size alone is known.
    pub const fn sized(bytes: usize) -> KernelParameter {
        KernelParameter { bytes, class: Class::Unknown }
    }

    /// What it takes, for errors.
    pub fn takes(&self) -> String {
        match (self.class, self.bytes) {
            (Class::Float, 4) => "an f32".into(),
            (Class::Float, 8) => "an f64".into(),
            (Class::Pointer, _) => "a pointer".into(),
            (Class::Integer, n) => format!("an integer of {n} bytes"),
            (_, n) => format!("{n} bytes"),
        }
    }

    /// Whether an argument of this size is of its class. What comes as plain bytes always is.
    pub(super) fn fits(&self, argument: &Argument) -> bool {
        use Argument::*;
        match (self.class, argument) {
            (Class::Unknown, _) | (_, Bytes(_)) => true,
            (Class::Float, argument) => matches!(argument, F32(_) | F64(_)),
            (Class::Integer, argument) => !matches!(argument, F32(_) | F64(_)),
            // An address that is given as a number would pass unchecked; null is nobody's memory.
            (Class::Pointer, argument) => matches!(argument, Pointer(_) | U64(0) | I64(0)),
        }
    }

    /// As it is written in a cache: `f4`, `i8`, `p8`, `u12`.
    pub(super) fn code(&self) -> String {
        let class = match self.class {
            Class::Unknown => 'u',
            Class::Integer => 'i',
            Class::Float => 'f',
            Class::Pointer => 'p',
        };
        format!("{class}{}", self.bytes)
    }

    /// The parameter of a [`KernelParameter::code`].
    pub(super) fn of_code(code: &str) -> Option<KernelParameter> {
        let class = match code.chars().next()? {
            'u' => Class::Unknown,
            'i' => Class::Integer,
            'f' => Class::Float,
            'p' => Class::Pointer,
            _ => return None,
        };
        Some(KernelParameter { bytes: code[1..].parse().ok()?, class })
    }
}

/// The kernels of PTX text with their parameters. What it does not understand it leaves out; it takes any text.
pub fn read_ptx(text: &str) -> BTreeMap<String, Vec<KernelParameter>> {
    let mut found = BTreeMap::new();
    let mut words = Words { rest: text };
    while let Some(word) = words.next() {
        if word != ".entry" {
            continue;
        }
        let Some(name) = words.next() else { break };
        let mut ahead = Words { rest: words.rest };
        let parameters = match ahead.next() {
            Some("(") => {
                words = ahead;
                read_list(&mut words)
            }
            // A kernel may have no list at all.
            _ => Some(Vec::new()),
        };
        if let Some(parameters) = parameters
            && found.len() < MOST_KERNELS
        {
            found.insert(name.to_owned(), parameters);
        }
    }
    found
}

/// Parameters up to the closing bracket; `None` where one is not understood.
fn read_list(words: &mut Words<'_>) -> Option<Vec<KernelParameter>> {
    let mut all = Vec::new();
    let mut one: Vec<&str> = Vec::new();
    loop {
        let word = words.next()?;
        match word {
            "," | ")" => {
                if !(one.is_empty() && all.is_empty() && word == ")") {
                    all.push(read_one(&one)?);
                }
                if word == ")" {
                    return Some(all);
                }
                one.clear();
            }
            "{" | "}" | ";" | "(" => return None,
            word => one.push(word),
        }
        if all.len() > MOST_PARAMETERS || one.len() > 16 {
            return None;
        }
    }
}

/// `.param .u64 .ptr .global .align 1 name`, `.param .align 4 .b8 name[12]`.
fn read_one(words: &[&str]) -> Option<KernelParameter> {
    let (first, rest) = words.split_first()?;
    if *first != ".param" {
        return None;
    }
    let (mut element, mut pointer, mut count) = (None, false, 1usize);
    let mut rest = rest.iter();
    while let Some(&word) = rest.next() {
        match word {
            ".align" => {
                rest.next()?;
            }
            ".ptr" => pointer = true,
            ".const" | ".global" | ".local" | ".shared" => {}
            "[" => {
                count = rest.next()?.parse().ok()?;
                (rest.next() == Some(&"]")).then_some(())?;
            }
            word if word.starts_with('.') => element = Some(element_of(word)?),
            _name => {}
        }
    }
    let (bytes, class) = element?;
    let array = words.contains(&"[");
    let class = match (array, pointer) {
        (true, _) => Class::Unknown,
        (_, true) => Class::Pointer,
        _ => class,
    };
    Some(KernelParameter { bytes: usize::checked_mul(bytes, count)?, class })
}

/// Size and class of a fundamental type.
fn element_of(word: &str) -> Option<(usize, Class)> {
    let class = match word.as_bytes().get(1)? {
        b'u' | b's' => Class::Integer,
        b'f' => Class::Float,
        b'b' => Class::Unknown,
        _ => return None,
    };
    Some(match &word[2..] {
        "8" => (1, class),
        "16" => (2, class),
        "32" => (4, class),
        "64" => (8, class),
        "128" => (16, class),
        "16x2" => (4, Class::Unknown),
        _ => return None,
    })
}

/// The words of PTX: comments are skipped, brackets and the like stand alone.
struct Words<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        loop {
            self.rest = self.rest.trim_start();
            let comment = if let Some(line) = self.rest.strip_prefix("//") {
                line.split_once('\n').map_or("", |(_, rest)| rest)
            } else if let Some(block) = self.rest.strip_prefix("/*") {
                block.split_once("*/").map_or("", |(_, rest)| rest)
            } else {
                break;
            };
            self.rest = comment;
        }
        let first = self.rest.chars().next()?;
        let alone = |c: char| "(),;[]{}:\"".contains(c);
        let end = if alone(first) {
            first.len_utf8()
        } else {
            let stop = |(at, c): &(usize, char)| *at > 0 && (c.is_whitespace() || alone(*c) || *c == '/');
            self.rest.char_indices().find(stop).map_or(self.rest.len(), |(at, _)| at)
        };
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_from_ptx() {
        let text = ".version 9.0\n.target sm_90\n// .entry not_this(.param .f32 x)\n\
            .visible .entry k(\n\t.param .u64 k_0,\n .param .f64 k_1, .param .u32 k_2, .param .align 4 .b8 k_3[12],\n\
            .param .u8 k_4, .param .f32 k_5, .param .u64 .ptr .global .align 1 k_6, .param .b32 k_7 /* last */\n)\n\
            .maxntid 64, 1, 1\n{ ld.param.u64 %rd1, [k_0]; }\n\
            .weak .entry _Z1tIsEvPT_S0_(.param .u64 a,.param .s16 b) { }\n.entry nop()\n{ ret; }\n.entry none { ret; }\n\
            .entry odd(.param .what x) { }\n.func f(.param .u32 x) { }";
        let found = read_ptx(text);
        let codes = |name: &str| {
            found.get(name).map(|all| all.iter().map(|p| p.code()).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(codes("k").unwrap(), "i8 f8 i4 u12 i1 f4 p8 u4");
        assert_eq!(codes("_Z1tIsEvPT_S0_").unwrap(), "i8 i2");
        assert_eq!((codes("nop").unwrap().as_str(), codes("none").unwrap().as_str()), ("", ""));
        assert_eq!(found.len(), 4, "{found:?}");
        for parameters in found.values() {
            for p in parameters {
                assert_eq!(KernelParameter::of_code(&p.code()), Some(*p));
            }
        }
        for wrong in ["", "x4", "f", "fö", "i99999999999999999999"] {
            assert_eq!(KernelParameter::of_code(wrong), None);
        }
    }

    #[test]
    fn any_text_is_taken() {
        let text = ".visible .entry k(.param .align 4 .b8 k_3[12], .param .f32 x) { /* ö */ }";
        for end in (0..=text.len()).filter(|&e| text.is_char_boundary(e)) {
            read_ptx(&text[..end]);
            read_ptx(&text[end..]);
        }
        let long = format!(".entry k(.param .b8 x[{}])", u64::MAX);
        assert!(read_ptx(&long)["k"][0].bytes > 0);
        assert!(read_ptx(&format!(".entry k(.param .u64 x[{}])", u64::MAX)).is_empty());
    }

    proptest::proptest! {
        /// Words in any order, cut anywhere: an answer, whose parameters have the sizes that their words say.
        #[test]
        fn any_words_are_taken(picks in proptest::collection::vec(0usize..24, 0..60), cut in 0usize..400) {
            let words = [".entry", "k", "(", ")", ",", ".param", ".u64", ".f32", ".b8", ".align", "4", "[", "]", "12",
                ".ptr", ".global", "{", "}", "//", "\n", "/*", "*/", ".f16x2", "\u{f6}"];
            let text: String = picks.iter().flat_map(|&p| [words[p], " "]).collect();
            let end = (0..=cut.min(text.len())).rev().find(|&e| text.is_char_boundary(e)).unwrap_or(0);
            for text in [&text[..], &text[..end], &text[end..]] {
                for p in read_ptx(text).values().flatten() {
                    assert!([1, 4, 8].iter().any(|n| p.bytes % n == 0));
                }
            }
            // A list in the midst of anything is read as it is, unless it stands in a comment.
            let after = format!("{text}\n*/ .entry sure(.param .u64 a, .param .b8 b[3]) {{ }}");
            if !text.contains("/*") && !text.trim_end().ends_with(".entry") {
                let found = read_ptx(&after.replace("*/ .entry", " ; .entry"));
                if let Some(sure) = found.get("sure") {
                    assert_eq!(sure.iter().map(KernelParameter::code).collect::<Vec<_>>(), ["i8", "u3"]);
                }
            }
        }
    }

    #[test]
    fn classes_take_what_they_are() {
        let p = |code: &str| KernelParameter::of_code(code).unwrap();
        assert!(p("f4").fits(&Argument::F32(1.0)) && !p("f4").fits(&Argument::I32(1)));
        assert!(p("i8").fits(&Argument::Pointer(1)) && !p("i8").fits(&Argument::F64(1.0)));
        assert!(p("p8").fits(&Argument::Pointer(1)) && p("p8").fits(&Argument::U64(0)));
        assert!(!p("p8").fits(&Argument::U64(4096)) && p("u4").fits(&Argument::F32(1.0)));
        assert!(p("f4").fits(&Argument::Bytes(vec![0; 4])));
    }
}
