//! Convolutions.

use super::pieces::Cutter;
use super::range::{Ranges, extent, product};
use super::{Cost, Element, Pace};
use crate::device::DevicePtr;
use crate::{Error, Result};

/// A two-dimensional convolution forward (as in neural networks: the filter is not mirrored), one group, no dilation.
///
/// All tensors are dense: the input NCHW `[batch][in_channels][height][width]`, the filter OIHW
/// `[out_channels][in_channels][kernel][kernel]`, the output NCHW `[batch][out_channels][out_height][out_width]` with
/// `out_height = (height + 2 padding - kernel) / stride + 1` and the same for the width. Padding counts as zeros.
/// Sums are f32 for f32, f16 and bf16 (the output is of the input's type), int32 for int8 (so is the output).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2d {
    /// The elements of input and filter: f32, f16, bf16 or int8.
    pub element: Element,
    /// The input.
    pub input: DevicePtr,
    /// The filter.
    pub filter: DevicePtr,
    /// The output; must not overlap the others.
    pub output: DevicePtr,
    /// Images; 0 does nothing.
    pub batch: u64,
    /// Channels of the input, at least 1.
    pub in_channels: u64,
    /// Channels of the output, at least 1.
    pub out_channels: u64,
    /// Rows of an image.
    pub height: u64,
    /// Columns of an image.
    pub width: u64,
    /// Rows and columns of the filter, at least 1.
    pub kernel: u64,
    /// Pixels from one application of the filter to the next, at least 1.
    pub stride: u64,
    /// Zeros around the image, less than `kernel`.
    pub padding: u64,
}

impl Conv2d {
    /// The elements of the output.
    pub fn output_element(&self) -> Element {
        if self.element == Element::I8 { Element::I32 } else { self.element }
    }

    /// Rows of the output.
    pub fn out_height(&self) -> u64 {
        (self.height + 2 * self.padding).saturating_sub(self.kernel) / self.stride.max(1) + 1
    }

    /// Columns of the output.
    pub fn out_width(&self) -> u64 {
        (self.width + 2 * self.padding).saturating_sub(self.kernel) / self.stride.max(1) + 1
    }

    /// Pixels of one output plane.
    pub(crate) fn pixels(&self) -> u64 {
        self.out_height() * self.out_width()
    }

    /// Inputs of one output: the inner extent of the product that it is.
    pub(crate) fn depth(&self) -> u64 {
        self.in_channels * self.kernel * self.kernel
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batch == 0
    }

    pub(super) fn check(&self) -> Result<Ranges> {
        const TYPES: [Element; 4] = [Element::F32, Element::F16, Element::BF16, Element::I8];
        self.element.among(&TYPES, "a convolution")?;
        let extents = [
            ("batchSize", self.batch),
            ("inChannels", self.in_channels),
            ("outChannels", self.out_channels),
            ("height", self.height),
            ("width", self.width),
            ("kernelSize", self.kernel),
            ("stride", self.stride),
            ("padding", self.padding),
        ];
        for (name, value) in extents {
            extent(name, value)?;
            if value == 0 && name != "padding" && name != "batchSize" {
                return Err(Error::argument(name, "is zero"));
            }
        }
        if self.padding >= self.kernel {
            let text = format!("{} is not less than the kernel's size of {}", self.padding, self.kernel);
            return Err(Error::argument("padding", text));
        }
        for (name, size) in [("height", self.height), ("width", self.width)] {
            if size + 2 * self.padding < self.kernel {
                let text = format!(
                    "{size} with a padding of {} is less than the kernel's {}",
                    self.padding, self.kernel
                );
                return Err(Error::argument(name, text));
            }
        }
        let depth = product("filter", &[self.in_channels, self.kernel, self.kernel])?;
        extent("filter", depth)?;
        if self.element == Element::I8 && depth > 1 << 17 {
            let text =
                format!("{depth} products of int8 may not fit the sum's 32 bits; at most {} do", 1 << 17);
            return Err(Error::argument("inChannels", text));
        }
        let pixels = product("output", &[self.out_height(), self.out_width()])?;
        extent("output", pixels)?;
        let plane = product("input", &[self.height, self.width])?;
        extent("input", plane)?;
        let mut ranges = Ranges::new();
        if !self.is_empty() {
            let input = product("input", &[self.batch, self.in_channels, plane])?;
            ranges.read("input", self.input, input, self.element)?;
            ranges.read(
                "filter",
                self.filter,
                product("filter", &[self.out_channels, depth])?,
                self.element,
            )?;
            let output = product("output", &[self.batch, self.out_channels, pixels])?;
            ranges.write("output", self.output, output, self.output_element())?;
        }
        ranges.apart(false)
    }

    pub(super) fn cost(&self) -> Cost {
        let outputs = (self.batch * self.out_channels) as f64 * self.pixels() as f64;
        let inputs = (self.batch * self.in_channels) as f64 * (self.height * self.width) as f64;
        let filter = self.out_channels as f64 * self.depth() as f64;
        Cost {
            flops: 2.0 * outputs * self.depth() as f64,
            bytes: self.element.bytes() as f64 * (inputs + filter)
                + self.output_element().bytes() as f64 * outputs,
            matrix: true,
        }
    }

    /// Cut by images; within one image by channels of the output.
    pub(super) fn cutter(&self, pace: &Pace) -> Cutter {
        let wanted = self.cost().pieces(pace);
        let mut cutter = Cutter::new(wanted);
        // Output channels of several images do not lie together.
        cutter.cut(self.batch, 1);
        cutter.cut(if wanted > self.batch { self.out_channels } else { 1 }, 64);
        cutter
    }

    pub(super) fn piece(&self, cutter: &Cutter, index: u64) -> Conv2d {
        let [images, channels, _] = cutter.piece(index);
        // With one part of channels the count of the cut is that of the placeholder.
        let whole = images.count != 1 || (channels.first == 0 && channels.count <= 1);
        let (first, count) = if whole { (0, self.out_channels) } else { (channels.first, channels.count) };
        let size = self.element.bytes();
        let input = images.first * self.in_channels * self.height * self.width * size;
        let output =
            (images.first * self.out_channels + first) * self.pixels() * self.output_element().bytes();
        Conv2d {
            input: self.input + input,
            filter: self.filter + first * self.depth() * size,
            output: self.output + output,
            batch: images.count,
            out_channels: count,
            ..*self
        }
    }
}
