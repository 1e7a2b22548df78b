//! The call that failed, with its arguments, for errors: `cw_memory_alloc(tenant=0x2…, bytes=4096, pointer=0x7f…)`.

use std::any::TypeId;
use std::ffi::c_char;
use std::fmt;

/// Longest text of an argument that is shown.
const LONGEST: usize = 48;

/// An exported function and its arguments. Nothing is formatted unless the call fails.
pub(super) struct Call<'a> {
    pub(super) name: &'static str,
    pub(super) arguments: &'a [(&'static str, &'a dyn Argument)],
}

impl From<&'static str> for Call<'_> {
    fn from(name: &'static str) -> Self {
        Call { name, arguments: &[] }
    }
}

impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.name)?;
        for (at, (name, value)) in self.arguments.iter().enumerate() {
            write!(f, "{}{name}=", if at > 0 { ", " } else { "" })?;
            value.show(f)?;
        }
        f.write_str(")")
    }
}

/// The [`Call`] of an exported function's name and all its parameters.
macro_rules! call {
    ($name:literal $(, $argument:ident)* $(,)?) => {
        $crate::ffi::arguments::Call {
            name: $name,
            arguments: &[$(($crate::ffi::arguments::plain(stringify!($argument)), &$argument)),*],
        }
    };
}

/// A parameter's name as the header has it: `type` where Rust must write `r#type`.
pub(super) fn plain(name: &'static str) -> &'static str {
    name.strip_prefix("r#").unwrap_or(name)
}

/// What can be an argument of an exported function.
pub(super) trait Argument {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

macro_rules! numbers {
    ($($t:ty)*) => {$(
        impl Argument for $t {
            fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }
    )*};
}
numbers!(u8 i8 u16 i16 u32 i32 u64 i64 usize isize f32 f64 bool);

fn pointer(address: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if address == 0 { f.write_str("NULL") } else { write!(f, "{address:#x}") }
}

impl<T: 'static> Argument for *mut T {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        pointer(self.addr(), f)
    }
}

impl<T: 'static> Argument for *const T {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_null() || TypeId::of::<T>() != TypeId::of::<c_char>() {
            return pointer(self.addr(), f);
        }
        // Text for Cogniware is NUL-terminated by the contract of the border; no byte behind the NUL is read.
        let mut text = Vec::new();
        // SAFETY: as said; it stays unchanged during the call.
        unsafe {
            let mut at = self.cast::<u8>();
            while text.len() < LONGEST && *at != 0 {
                text.push(*at);
                at = at.add(1);
            }
        }
        let more = if text.len() == LONGEST { "…" } else { "" };
        write!(f, "{:?}{more}", String::from_utf8_lossy(&text))
    }
}

/// Functions of the application.
impl<F> Argument for Option<F> {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_some() { "set" } else { "NULL" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_shows_its_arguments() {
        let (id, bytes, none) = (c"gpt".as_ptr(), 4096usize, std::ptr::null_mut::<u8>());
        let function: Option<fn()> = Some(|| ());
        assert_eq!(
            call!("cw_x", id, bytes, none, function).to_string(),
            "cw_x(id=\"gpt\", bytes=4096, none=NULL, function=set)"
        );
        let r#type = 4;
        assert_eq!(call!("cw_x", r#type).to_string(), "cw_x(type=4)");
        let long = std::ffi::CString::new("x".repeat(1000)).unwrap();
        let text = long.as_ptr();
        assert_eq!(call!("cw_x", text).to_string(), format!("cw_x(text=\"{}\"…)", "x".repeat(48)));
        assert_eq!(Call::from("cw_y").to_string(), "cw_y()");
    }
}
