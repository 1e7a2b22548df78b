//! The weight image: where each tensor lies in it, and how it is packed from the file.
//!
//! All tensors of a model make one read-only image ([`Shared`](crate::memory::Shared)): tenants of a device that load
//! the same file map one physical copy. Matrices are packed by the device's operations, vectors stored as f32.

use crate::device::{Device, DeviceKind, DevicePtr};
use crate::llm::config::{Architecture, ModelConfig};
use crate::llm::file::{Form, ModelFile};
use crate::llm::net::buffer::bytes_of;
use crate::ops::{Ops, Weight};
use crate::{Error, Result, Status};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

/// Part of the key of shared images; to be raised when the plan changes.
pub(crate) const IMAGE_VERSION: u32 = 1;

/// How far a load is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadProgress {
    /// Bytes of the file's tensors packed so far.
    pub done: u64,
    /// Bytes of all tensors that the model uses.
    pub total: u64,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Matrix { form: Form, rows: u32, cols: u32 },
    Vector { len: u64 },
}

struct Entry {
    name: String,
    kind: Kind,
    offset: u64,
    bytes: u64,
    source: u64,
}

/// Where each tensor lies in the image.
pub(crate) struct Plan {
    entries: Vec<Entry>,
    by_name: HashMap<String, usize>,
    bytes: u64,
    source: u64,
    exact_head: bool,
}

/// The tensors that a network of this configuration uses: matrices, then vectors.
fn names(config: &ModelConfig) -> (Vec<String>, Vec<String>) {
    let (mut matrices, mut vectors) = (vec!["token_embd.weight".to_string()], Vec::new());
    let encoder = config.architecture == Architecture::Bert;
    if encoder {
        matrices.push("position_embd.weight".into());
        if config.type_vocab > 0 {
            matrices.push("token_types.weight".into());
        }
        vectors.extend(["token_embd_norm.weight".to_string(), "token_embd_norm.bias".to_string()]);
    } else {
        vectors.push("output_norm.weight".into());
        if !config.tied {
            matrices.push("output.weight".into());
        }
    }
    for layer in 0..config.layers {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let mut linear = |part: &str, bias: bool| {
            matrices.push(name(&format!("{part}.weight")));
            if bias {
                vectors.push(name(&format!("{part}.bias")));
            }
        };
        for part in ["attn_q", "attn_k", "attn_v"] {
            linear(part, config.qkv_bias);
        }
        linear("attn_output", config.output_bias);
        if !encoder {
            linear("ffn_gate", config.ffn_bias);
        }
        linear("ffn_up", config.ffn_bias);
        linear("ffn_down", config.ffn_bias);
        if encoder {
            for part in ["attn_output_norm", "layer_output_norm"] {
                vectors.extend([name(&format!("{part}.weight")), name(&format!("{part}.bias"))]);
            }
        } else {
            vectors.extend([name("attn_norm.weight"), name("ffn_norm.weight")]);
            if config.architecture == Architecture::BitNet {
                vectors.extend([name("attn_sub_norm.weight"), name("ffn_sub_norm.weight")]);
            }
            if config.qk_norm {
                vectors.extend([name("attn_q_norm.weight"), name("attn_k_norm.weight")]);
            }
        }
    }
    (matrices, vectors)
}

impl Plan {
    /// Lays out the tensors of `file` for the device of `ops`; see [`ModelFile::matrix`] for `exact_head`.
    pub fn new(file: &ModelFile, ops: &dyn Ops, exact_head: bool) -> Result<Plan> {
        let mut plan = Plan { entries: Vec::new(), by_name: HashMap::new(), bytes: 0, source: 0, exact_head };
        let (matrices, vectors) = names(file.config());
        for name in matrices {
            let form = file.form(&name, exact_head)?;
            let [rows, cols] = form.shape[..] else {
                return Err(Error::format(format!("tensor {name}: {:?} is no matrix", form.shape)));
            };
            let size = |n: u64| {
                u32::try_from(n).map_err(|_| Error::format(format!("tensor {name}: {n} rows or columns")))
            };
            let (rows, cols) = (size(rows)?, size(cols)?);
            let bytes = ops.packed_bytes(form.dtype, rows, cols).map_err(|e| e.within(&name))?;
            plan.push(name, Kind::Matrix { form, rows, cols }, bytes, form.stored);
        }
        for name in vectors {
            let view = file.tensor(&name)?;
            let (len, source) = (view.elements(), view.data.len() as u64);
            plan.push(name, Kind::Vector { len }, len * 4, source);
        }
        Ok(plan)
    }

    fn push(&mut self, name: String, kind: Kind, bytes: u64, source: u64) {
        self.by_name.insert(name.clone(), self.entries.len());
        self.entries.push(Entry { name, kind, offset: self.bytes, bytes, source });
        self.bytes += bytes.next_multiple_of(256);
        self.source += source;
    }

    /// Part of the key of shared images: files that are loaded in two ways make two images.
    pub fn variant(&self) -> &'static str {
        if self.exact_head { " with an exact head" } else { "" }
    }

    /// Bytes of the image.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of the tensors in the file.
    pub fn source_bytes(&self) -> u64 {
        self.source
    }

    /// The matrix of this name in an image at `base`.
    pub fn matrix(&self, base: DevicePtr, name: &str) -> Result<Weight> {
        match self.entry(name)? {
            Entry { kind: Kind::Matrix { form, rows, cols }, offset, .. } => {
                Ok(Weight { dtype: form.dtype, rows: *rows, cols: *cols, ptr: base + offset })
            }
            _ => Err(Error::new(Status::Internal, format!("tensor {name} is a vector"))),
        }
    }

    /// The vector of this name and length in an image at `base`.
    pub fn vector(&self, base: DevicePtr, name: &str, len: u32) -> Result<DevicePtr> {
        match self.entry(name)? {
            Entry { kind: Kind::Vector { len: n }, offset, .. } if *n == u64::from(len) => Ok(base + offset),
            Entry { kind, .. } => {
                Err(Error::format(format!("tensor {name} is {kind:?}, not a vector of {len}")))
            }
        }
    }

    fn entry(&self, name: &str) -> Result<&Entry> {
        let at = self.by_name.get(name);
        at.map(|at| &self.entries[*at])
            .ok_or_else(|| Error::new(Status::Internal, format!("tensor {name} is not in the plan")))
    }

    /// Packs the file's tensors into an image at `base`, with up to `threads` threads. Each holds at most one packed
    /// tensor in host memory; on the CPU device none, since it packs in place. `progress` returning false cancels.
    pub fn pack(
        &self,
        file: &ModelFile,
        ops: &dyn Ops,
        device: &Arc<dyn Device>,
        base: DevicePtr,
        threads: usize,
        progress: &mut dyn FnMut(LoadProgress) -> bool,
    ) -> Result<()> {
        let next = AtomicUsize::new(0);
        let stop = AtomicBool::new(false);
        let (report, reports) = mpsc::channel::<Result<u64>>();
        let work = |report: mpsc::Sender<Result<u64>>| {
            let mut buffer = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let Some(entry) = self.entries.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                let done = entry.pack(file, ops, device, base, &mut buffer).map(|()| entry.source);
                if report.send(done.map_err(|e| e.within(&entry.name))).is_err() {
                    break;
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..threads.clamp(1, self.entries.len().max(1)) {
                let report = report.clone();
                scope.spawn(move || work(report));
            }
            drop(report);
            let mut done = 0;
            for packed in reports {
                let result = packed.and_then(|bytes| {
                    done += bytes;
                    if progress(LoadProgress { done, total: self.source }) {
                        return Ok(());
                    }
                    Err(Error::new(Status::Cancelled, "loading the model was cancelled"))
                });
                if result.is_err() {
                    stop.store(true, Ordering::Relaxed);
                    return result;
                }
            }
            if done == self.source {
                return Ok(());
            }
            Err(Error::new(Status::Internal, format!("packed {done} of {} bytes", self.source)))
        })
    }
}

impl Entry {
    fn pack(
        &self,
        file: &ModelFile,
        ops: &dyn Ops,
        device: &Arc<dyn Device>,
        base: DevicePtr,
        buffer: &mut Vec<u8>,
    ) -> Result<()> {
        let Kind::Matrix { form, rows, cols } = self.kind else {
            return device.write(base + self.offset, bytes_of(&file.tensor_f32(&self.name)?));
        };
        let data = file.matrix(&self.name, &form)?;
        if device.kind() == DeviceKind::Cpu {
            // SAFETY: on the CPU device addresses are this process's. The image is mapped writable at `base` for the
            // filling that we are part of, entries do not overlap, and each is packed by one thread.
            let place = unsafe {
                std::slice::from_raw_parts_mut((base + self.offset) as *mut u8, self.bytes as usize)
            };
            return ops.pack(form.dtype, rows, cols, &data, place);
        }
        if buffer.len() < self.bytes as usize {
            buffer.resize(self.bytes as usize, 0);
        }
        let packed = &mut buffer[..self.bytes as usize];
        ops.pack(form.dtype, rows, cols, &data, packed)?;
        device.write(base + self.offset, packed)
    }
}
