//! The tag of an allocation, kept in place when it is short.

const INLINE: usize = 22;

#[derive(Clone)]
pub(super) enum Tag {
    Short(u8, [u8; INLINE]),
    Long(Box<str>),
}

impl Default for Tag {
    fn default() -> Tag {
        Tag::Short(0, [0; INLINE])
    }
}

impl Tag {
    pub fn new(text: &str) -> Tag {
        let mut short = [0; INLINE];
        match short.get_mut(..text.len()) {
            Some(place) => {
                place.copy_from_slice(text.as_bytes());
                Tag::Short(text.len() as u8, short)
            }
            None => Tag::Long(text.into()),
        }
    }

    pub fn as_str(&self) -> &str {
        match self {
            Tag::Short(n, text) => std::str::from_utf8(&text[..*n as usize]).unwrap_or_default(),
            Tag::Long(text) => text,
        }
    }
}
