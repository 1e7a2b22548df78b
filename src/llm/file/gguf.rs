//! The GGUF container, versions 2 and 3, little endian: a header of keys and values, a table of tensors, the data.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. Every count, length and range in the file is
//! checked against the bytes that are left before anything is done with it; arrays are left in place and walked when
//! they are asked for, so a hostile header costs no more memory than its own length.

use super::bytes::Bytes;
use crate::quant::DType;
use crate::{Error, Result};
use std::collections::HashMap;

/// Longest key, as the format states.
const MAX_KEY: u64 = 65_535;
/// Longest string value or array element; chat templates are the longest in practice.
const MAX_STRING: u64 = 16 << 20;
/// Deepest nesting of arrays.
const MAX_DEPTH: u32 = 4;
/// Most dimensions of a tensor.
const MAX_DIMS: u32 = 4;
/// Largest alignment that makes sense.
const MAX_ALIGNMENT: u64 = 1 << 20;

/// Most entries of an array with one number for each layer.
const MAX_NUMBERS: u64 = 65_536;

const TYPE_STRING: u32 = 8;
const TYPE_ARRAY: u32 = 9;

/// A value of the header. Strings and arrays are places in the file.
#[derive(Clone, Copy, Debug)]
enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    String { start: usize, len: usize },
    Array { kind: u32, count: u64, start: usize },
}

/// One tensor of the table.
#[derive(Clone, Debug)]
pub(in crate::llm) struct Tensor {
    pub(in crate::llm) name: String,
    /// The type's number in the file; not every number is one that [`DType`] knows.
    kind: u32,
    /// Outputs first (the file stores them inputs first).
    pub(in crate::llm) shape: Vec<u64>,
    start: usize,
    /// Bytes; 0 when the type is unknown.
    pub(in crate::llm) len: usize,
}

impl Tensor {
    pub(in crate::llm) fn dtype(&self) -> Result<DType> {
        DType::from_ggml(self.kind).map_err(|e| e.within(format!("tensor `{}`", self.name)))
    }
}

/// A parsed GGUF file.
pub(in crate::llm) struct Gguf {
    bytes: Bytes,
    values: HashMap<String, Value>,
    pub(in crate::llm) tensors: Vec<Tensor>,
    index: HashMap<String, usize>,
}

/// Reads forward through the bytes and never beyond them.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, n: u64, what: &str) -> Result<&'a [u8]> {
        let left = self.bytes.len() - self.at;
        if n > left as u64 {
            return Err(Error::format(format!(
                "GGUF: {what} at offset {} needs {n} bytes, {left} are left; the file is cut or damaged",
                self.at
            )));
        }
        let piece = &self.bytes[self.at..self.at + n as usize];
        self.at += n as usize;
        Ok(piece)
    }

    fn u32(&mut self, what: &str) -> Result<u32> {
        Ok(u32::from_le_bytes(self.take(4, what)?.try_into().expect("4 bytes")))
    }

    fn u64(&mut self, what: &str) -> Result<u64> {
        Ok(u64::from_le_bytes(self.take(8, what)?.try_into().expect("8 bytes")))
    }

    /// A string's place: its start and length.
    fn string(&mut self, max: u64, what: &str) -> Result<(usize, usize)> {
        let at = self.at;
        let len = self.u64(what)?;
        if len > max {
            return Err(Error::format(format!(
                "GGUF: {what} at offset {at} claims {len} bytes; at most {max} are allowed"
            )));
        }
        let start = self.at;
        self.take(len, what)?;
        Ok((start, len as usize))
    }

    fn text(&self, place: (usize, usize), what: &str) -> Result<&'a str> {
        std::str::from_utf8(&self.bytes[place.0..place.0 + place.1])
            .map_err(|_| Error::format(format!("GGUF: {what} at offset {} is not UTF-8", place.0)))
    }

    /// Number of entries, refused when even the smallest ones would not fit into what is left.
    fn count(&mut self, smallest: u64, what: &str) -> Result<u64> {
        let at = self.at;
        let n = self.u64(what)?;
        let left = (self.bytes.len() - self.at) as u64;
        if n > left / smallest {
            return Err(Error::format(format!(
                "GGUF: {what} at offset {at} is {n}, more than the {left} bytes left can hold"
            )));
        }
        Ok(n)
    }

    /// A value of type `kind`; arrays are walked to their end and left in place.
    fn value(&mut self, kind: u32, depth: u32, what: &str) -> Result<Value> {
        Ok(match kind {
            0 => Value::Unsigned(u64::from(self.take(1, what)?[0])),
            1 => Value::Signed(i64::from(self.take(1, what)?[0] as i8)),
            2 => Value::Unsigned(u64::from(u16::from_le_bytes(
                self.take(2, what)?.try_into().expect("2 bytes"),
            ))),
            3 => {
                Value::Signed(i64::from(i16::from_le_bytes(self.take(2, what)?.try_into().expect("2 bytes"))))
            }
            4 => Value::Unsigned(u64::from(self.u32(what)?)),
            5 => Value::Signed(i64::from(self.u32(what)? as i32)),
            6 => Value::Float(f64::from(f32::from_bits(self.u32(what)?))),
            7 => match self.take(1, what)?[0] {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                n => {
                    return Err(Error::format(format!(
                        "GGUF: {what} at offset {} is the boolean {n}; 0 and 1 are allowed",
                        self.at - 1
                    )));
                }
            },
            TYPE_STRING => {
                let (start, len) = self.string(MAX_STRING, what)?;
                Value::String { start, len }
            }
            TYPE_ARRAY => {
                if depth == MAX_DEPTH {
                    return Err(Error::format(format!(
                        "GGUF: {what} at offset {} nests arrays deeper than {MAX_DEPTH}",
                        self.at
                    )));
                }
                let kind = self.u32(what)?;
                let smallest = match kind {
                    TYPE_ARRAY => 12,
                    TYPE_STRING => 8,
                    _ => scalar_bytes(kind)
                        .ok_or_else(|| unknown_type(kind, self.at - 4, what))
                        .map(u64::from)?,
                };
                let count = self.count(smallest, what)?;
                let start = self.at;
                if kind == TYPE_ARRAY || kind == TYPE_STRING {
                    for _ in 0..count {
                        self.value(kind, depth + 1, what)?;
                    }
                } else {
                    self.take(count * smallest, what)?;
                }
                Value::Array { kind, count, start }
            }
            10 => Value::Unsigned(self.u64(what)?),
            11 => Value::Signed(self.u64(what)? as i64),
            12 => Value::Float(f64::from_bits(self.u64(what)?)),
            _ => return Err(unknown_type(kind, self.at - 4, what)),
        })
    }
}

fn scalar_bytes(kind: u32) -> Option<u8> {
    Some(match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        10..=12 => 8,
        _ => return None,
    })
}

fn unknown_type(kind: u32, at: usize, what: &str) -> Error {
    Error::format(format!("GGUF: {what} has the unknown value type {kind} at offset {at}"))
}

impl Gguf {
    /// Parses the header of `bytes` and checks the place of every tensor.
    pub(in crate::llm) fn parse(bytes: Bytes) -> Result<Gguf> {
        let data: &[u8] = &bytes;
        let mut c = Cursor { bytes: data, at: 0 };
        if c.take(4, "the magic")? != b"GGUF" {
            return Err(Error::format("not a GGUF file: it does not begin with the letters GGUF"));
        }
        match c.u32("the version")? {
            2 | 3 => {}
            n @ (0 | 1) => {
                return Err(Error::unsupported(format!("GGUF version {n} is not supported"))
                    .advise("convert the model again with a current llama.cpp"));
            }
            n if n.swap_bytes() <= 16 => {
                return Err(Error::unsupported("this GGUF file is big endian")
                    .advise("convert it to little endian with gguf-py's gguf_convert_endian"));
            }
            n => {
                return Err(Error::unsupported(format!("GGUF version {n} is not supported"))
                    .advise("versions 2 and 3 are"));
            }
        }
        // A tensor entry takes at least 8 + 4 + 8 + 4 + 8 bytes, a key at least 8 + 1 + 4 + 1.
        let tensor_count = c.count(32, "the number of tensors")?;
        let key_count = c.count(14, "the number of keys")?;

        let mut values = HashMap::new();
        for i in 0..key_count {
            let place = c.string(MAX_KEY, &format!("key {i}"))?;
            let key = c.text(place, &format!("key {i}"))?;
            let what = format!("the value of `{key}`");
            let kind = c.u32(&what)?;
            let value = c.value(kind, 0, &what)?;
            if values.insert(key.to_owned(), value).is_some() {
                return Err(Error::format(format!(
                    "GGUF: the key `{key}` at offset {} appears twice",
                    place.0
                )));
            }
        }
        let alignment = match values.get("general.alignment") {
            None => 32,
            Some(Value::Unsigned(n)) if n.is_power_of_two() && *n <= MAX_ALIGNMENT => *n,
            Some(other) => {
                return Err(Error::format(format!(
                    "GGUF: `general.alignment` is {other:?}; a power of two up to {MAX_ALIGNMENT} is allowed"
                )));
            }
        };

        let mut tensors = Vec::new();
        let mut offsets = Vec::new();
        let mut index = HashMap::new();
        for i in 0..tensor_count {
            let place = c.string(MAX_KEY, &format!("the name of tensor {i}"))?;
            let name = c.text(place, &format!("the name of tensor {i}"))?;
            let what = format!("tensor `{name}`");
            let dims = c.u32(&what)?;
            if dims == 0 || dims > MAX_DIMS {
                return Err(Error::format(format!(
                    "GGUF: {what} at offset {} has {dims} dimensions; 1 to {MAX_DIMS} are allowed",
                    place.0
                )));
            }
            let mut shape = Vec::with_capacity(dims as usize);
            for _ in 0..dims {
                shape.push(c.u64(&what)?);
            }
            shape.reverse();
            let kind = c.u32(&what)?;
            let offset = c.u64(&what)?;
            if shape.contains(&0) {
                return Err(Error::format(format!("GGUF: {what} has a dimension of 0: {shape:?}")));
            }
            if !offset.is_multiple_of(alignment) {
                return Err(Error::format(format!(
                    "GGUF: {what} begins at data offset {offset}, no multiple of the alignment {alignment}"
                )));
            }
            if index.insert(name.to_owned(), tensors.len()).is_some() {
                return Err(Error::format(format!("GGUF: {what} appears twice")));
            }
            offsets.push(offset);
            tensors.push(Tensor { name: name.to_owned(), kind, shape, start: 0, len: 0 });
        }

        let data_start = (c.at as u64).next_multiple_of(alignment);
        let size = data.len() as u64;
        for (t, offset) in tensors.iter_mut().zip(offsets) {
            place_tensor(t, offset, data_start, size)?;
        }
        refuse_overlap(&tensors)?;
        Ok(Gguf { bytes, values, tensors, index })
    }

    /// The tensor with this name and its bytes.
    pub(in crate::llm) fn tensor(&self, name: &str) -> Option<(&Tensor, &[u8])> {
        let t = &self.tensors[*self.index.get(name)?];
        Some((t, &self.bytes[t.start..t.start + t.len]))
    }

    fn get<T>(&self, key: &str, kind: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Option<T>> {
        match self.values.get(key) {
            None => Ok(None),
            Some(v) => match read(v) {
                Some(x) => Ok(Some(x)),
                None => Err(Error::format(format!("GGUF: `{key}` is {v:?}, not {kind}"))),
            },
        }
    }

    /// An unsigned number of any width.
    pub(in crate::llm) fn uint(&self, key: &str) -> Result<Option<u64>> {
        self.get(key, "an unsigned number", |v| v.unsigned())
    }

    /// A number that may also be an array of numbers, one for each layer.
    pub(in crate::llm) fn uints(&self, key: &str) -> Result<Option<Vec<u64>>> {
        match self.values.get(key) {
            Some(&Value::Array { count, .. }) => {
                if count > MAX_NUMBERS {
                    return Err(Error::format(format!("GGUF: `{key}` has {count} entries, too many")));
                }
                let bad = || Error::format(format!("GGUF: `{key}` is no array of unsigned numbers"));
                let items = self.array(key)?.into_iter().flatten();
                items.map(|v| v?.unsigned().ok_or_else(bad)).collect::<Result<_>>().map(Some)
            }
            _ => Ok(self.uint(key)?.map(|n| vec![n])),
        }
    }

    /// A number as a float.
    pub(in crate::llm) fn float(&self, key: &str) -> Result<Option<f64>> {
        self.get(key, "a number", Value::float)
    }

    /// A boolean.
    pub(in crate::llm) fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.get(key, "a boolean", |v| match v {
            Value::Bool(b) => Some(*b),
            _ => None,
        })
    }

    /// A text.
    pub(in crate::llm) fn text(&self, key: &str) -> Result<Option<&str>> {
        let place = self.get(key, "a string", |v| match *v {
            Value::String { start, len } => Some((start, len)),
            _ => None,
        })?;
        place.map(|p| self.cursor().text(p, &format!("`{key}`"))).transpose()
    }

    /// An array of texts.
    pub(in crate::llm) fn texts(&self, key: &str) -> Result<Option<Vec<&str>>> {
        let Some(items) = self.array(key)? else { return Ok(None) };
        let c = self.cursor();
        items
            .map(|v| match v? {
                Value::String { start, len } => c.text((start, len), key),
                other => Err(Error::format(format!("GGUF: `{key}` holds {other:?}, not a string"))),
            })
            .collect::<Result<_>>()
            .map(Some)
    }

    /// An array of 32-bit floats.
    pub(in crate::llm) fn floats(&self, key: &str) -> Result<Option<Vec<f32>>> {
        self.four_byte_array(key, &[6], f32::from_le_bytes)
    }

    /// An array of 32-bit numbers, signed or not.
    pub(in crate::llm) fn ints(&self, key: &str) -> Result<Option<Vec<u32>>> {
        self.four_byte_array(key, &[4, 5], u32::from_le_bytes)
    }

    fn four_byte_array<T>(&self, key: &str, kinds: &[u32], read: fn([u8; 4]) -> T) -> Result<Option<Vec<T>>> {
        match self.values.get(key) {
            None => Ok(None),
            Some(&Value::Array { kind, count, start }) if kinds.contains(&kind) => {
                let raw = &self.bytes[start..start + 4 * count as usize];
                Ok(Some(raw.chunks_exact(4).map(|b| read(b.try_into().expect("4 bytes"))).collect()))
            }
            Some(v) => Err(Error::format(format!("GGUF: `{key}` is {v:?}, no array of type {kinds:?}"))),
        }
    }

    fn cursor(&self) -> Cursor<'_> {
        Cursor { bytes: &self.bytes, at: 0 }
    }

    /// The elements of an array. The walk at parse time has checked that they lie inside the file.
    fn array(&self, key: &str) -> Result<Option<impl Iterator<Item = Result<Value>>>> {
        let place = self.get(key, "an array", |v| match *v {
            Value::Array { kind, count, start } => Some((kind, count, start)),
            _ => None,
        })?;
        Ok(place.map(|(kind, count, start)| {
            let mut c = self.cursor();
            c.at = start;
            (0..count).map(move |_| c.value(kind, 1, "an array element"))
        }))
    }
}

impl Value {
    fn unsigned(&self) -> Option<u64> {
        match *self {
            Value::Unsigned(n) => Some(n),
            Value::Signed(n) => u64::try_from(n).ok(),
            _ => None,
        }
    }

    fn float(&self) -> Option<f64> {
        match *self {
            Value::Float(x) => Some(x),
            Value::Unsigned(n) => Some(n as f64),
            Value::Signed(n) => Some(n as f64),
            _ => None,
        }
    }
}

/// Computes where a tensor lies and checks that this is inside the file.
fn place_tensor(t: &mut Tensor, offset: u64, data_start: u64, size: u64) -> Result<()> {
    let name = &t.name;
    let (cols, rows) = t.shape.split_last().expect("at least one dimension");
    let overflow = || Error::format(format!("GGUF: tensor `{name}`: the shape {:?} overflows", t.shape));
    let rows = rows.iter().try_fold(1u64, |a, &b| a.checked_mul(b)).ok_or_else(overflow)?;
    rows.checked_mul(*cols).ok_or_else(overflow)?;
    // A type that is not known has no size that could be checked; it is refused when somebody asks for the tensor.
    let len = match DType::from_ggml(t.kind) {
        Ok(dtype) => dtype.bytes(rows, *cols).map_err(|e| e.within(format!("GGUF: tensor `{name}`")))?,
        Err(_) => 0,
    };
    let end = data_start.checked_add(offset).and_then(|s| s.checked_add(len));
    match end {
        Some(end) if end <= size => {
            t.start = (end - len) as usize;
            t.len = len as usize;
            Ok(())
        }
        _ => Err(Error::format(format!(
            "GGUF: tensor `{name}` lies at {data_start} + {offset}, {len} bytes long, but the file has {size} bytes; \
             it is cut or damaged"
        ))),
    }
}

/// Tensors over one another are a way to make a small file cost much memory, and never legitimate.
fn refuse_overlap(tensors: &[Tensor]) -> Result<()> {
    let mut order: Vec<&Tensor> = tensors.iter().filter(|t| t.len > 0).collect();
    order.sort_by_key(|t| t.start);
    for pair in order.windows(2) {
        if pair[0].start + pair[0].len > pair[1].start {
            return Err(Error::format(format!(
                "GGUF: the tensors `{}` and `{}` overlap at offset {}",
                pair[0].name, pair[1].name, pair[1].start
            )));
        }
    }
    Ok(())
}
