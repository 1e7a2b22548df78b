//! Any bytes as a GPU image: what it is, and what its kernels take.
#![no_main]

use cogniware::program::{Image, read_ptx};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(image) = Image::new(data.to_vec()) {
        std::hint::black_box(image.parameters.len());
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let bytes: usize = read_ptx(text).values().flatten().fold(0, |sum, p| sum.wrapping_add(p.bytes));
        std::hint::black_box(bytes);
    }
});
