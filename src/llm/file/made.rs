//! GGUF files made by hand, for tests.

/// A file in the making: keys and F32 tensors.
#[derive(Default)]
pub(in crate::llm) struct Made {
    keys: Vec<u8>,
    key_count: u64,
    table: Vec<u8>,
    tensor_count: u64,
    data: Vec<u8>,
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

impl Made {
    fn key(&mut self, name: &str, kind: u32) {
        put_text(&mut self.keys, name);
        self.keys.extend(kind.to_le_bytes());
        self.key_count += 1;
    }

    pub(in crate::llm) fn uint(mut self, name: &str, n: u64) -> Made {
        self.key(name, 10);
        self.keys.extend(n.to_le_bytes());
        self
    }

    pub(in crate::llm) fn float(mut self, name: &str, x: f32) -> Made {
        self.key(name, 6);
        self.keys.extend(x.to_le_bytes());
        self
    }

    pub(in crate::llm) fn text(mut self, name: &str, text: &str) -> Made {
        self.key(name, 8);
        put_text(&mut self.keys, text);
        self
    }

    pub(in crate::llm) fn texts(mut self, name: &str, texts: &[String]) -> Made {
        self.key(name, 9);
        self.keys.extend(8u32.to_le_bytes());
        self.keys.extend((texts.len() as u64).to_le_bytes());
        texts.iter().for_each(|t| put_text(&mut self.keys, t));
        self
    }

    pub(in crate::llm) fn ints(mut self, name: &str, numbers: Vec<u32>) -> Made {
        self.key(name, 9);
        self.keys.extend(5u32.to_le_bytes());
        self.keys.extend((numbers.len() as u64).to_le_bytes());
        self.keys.extend(numbers.into_iter().flat_map(u32::to_le_bytes));
        self
    }

    /// `shape` has the outputs first.
    pub(in crate::llm) fn tensor(mut self, name: &str, shape: &[u64], values: Vec<f32>) -> Made {
        put_text(&mut self.table, name);
        self.table.extend((shape.len() as u32).to_le_bytes());
        shape.iter().rev().for_each(|n| self.table.extend(n.to_le_bytes()));
        self.table.extend(0u32.to_le_bytes());
        self.table.extend((self.data.len() as u64).to_le_bytes());
        self.data.extend(values.into_iter().flat_map(f32::to_le_bytes));
        self.data.resize(self.data.len().next_multiple_of(32), 0);
        self.tensor_count += 1;
        self
    }

    pub(in crate::llm) fn bytes(self) -> Vec<u8> {
        let mut out = b"GGUF\x03\0\0\0".to_vec();
        out.extend(self.tensor_count.to_le_bytes());
        out.extend(self.key_count.to_le_bytes());
        out.extend(self.keys);
        out.extend(self.table);
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(self.data);
        out
    }
}
