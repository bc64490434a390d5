//! From the planes of a JPEG image to pixels: chroma that is stored for several pixels is interpolated, and YCbCr becomes RGB.
//!
//! Both are what libjpeg computes, to the last bit. They are here as loops that the compiler makes vectors of, which it cannot
//! do with libjpeg's.

/// Rows of blocks' worth of row groups that are read at once.
const GROUPS_READ: usize = 8;

/// Pixels that are converted at once.
const LANES: usize = 32;

/// Row groups that are kept for the next rows: the one above, and the one that waits for the row below it.
const GROUPS_KEPT: usize = 2;

/// A component's rows that are at hand: those kept, and one row of the file's blocks.
#[derive(Debug)]
pub struct Plane {
    rows: Vec<u8>,
    /// Samples from a row to the next.
    stride: usize,
    /// Samples of a row, and rows of the plane, that belong to the image.
    size: (usize, usize),
    /// Rows of a row group.
    group: usize,
    /// Columns and rows of pixels that share a sample: 1 or 2.
    shared: (usize, usize),
    /// Number of the first row at hand.
    first: isize,
}

impl Plane {
    /// A component of `factors` (columns, rows) in an image of `pixels` whose largest factors are `most`; its rows of blocks have
    /// `stride` samples. Nothing if it is of a kind that is not interpolated as libjpeg does.
    pub fn new(pixels: (usize, usize), factors: (usize, usize), most: (usize, usize), stride: usize) -> Option<Self> {
        let whole = most.0.is_multiple_of(factors.0) && most.1.is_multiple_of(factors.1);
        let shared = (most.0 / factors.0, most.1 / factors.1);
        let size = ((pixels.0 * factors.0).div_ceil(most.0), (pixels.1 * factors.1).div_ceil(most.1));
        // libjpeg repeats the samples of images as narrow as that.
        let narrow = shared.0 == 2 && size.0 <= 2;
        let known = whole && shared.0 <= 2 && shared.1 <= 2 && !narrow && stride >= size.0;
        known.then(|| Self {
            rows: vec![0; (GROUPS_KEPT + GROUPS_READ) * factors.1 * stride],
            stride,
            size,
            group: factors.1,
            shared,
            first: -((GROUPS_KEPT * factors.1) as isize),
        })
    }

    /// The rows that the file's next row of blocks goes to.
    pub fn next_rows(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.rows[GROUPS_KEPT * self.group * self.stride..].chunks_exact_mut(self.stride)
    }

    /// Keeps the last rows and makes place for the next ones.
    fn advance(&mut self) {
        self.rows.copy_within(GROUPS_READ * self.group * self.stride.., 0);
        self.first += (GROUPS_READ * self.group) as isize;
    }

    /// The row of this number, or the nearest that there is.
    #[inline(always)]
    fn row(&self, number: isize) -> &[u8] {
        let at = (number.clamp(0, self.size.1 as isize - 1) - self.first) as usize * self.stride;
        &self.rows[at..][..self.size.0]
    }

    /// Samples for each pixel of row `y`.
    #[inline(always)]
    fn line<'l>(&'l self, y: usize, line: &'l mut Line) -> &'l [u8] {
        let row = (y / self.shared.1) as isize;
        let near = self.row(row);
        let (other, lower) = if y.is_multiple_of(2) { (row - 1, false) } else { (row + 1, true) };
        let width = near.len();
        let middle = &mut line.sums[1..=width];
        match self.shared {
            (1, 1) => return near,
            (1, _) => {
                let bias = if lower { 2 } else { 1 };
                for ((out, near), far) in line.samples.iter_mut().zip(near).zip(self.row(other)) {
                    *out = ((3 * u16::from(*near) + u16::from(*far) + bias) >> 2) as u8;
                }
                return &line.samples[..width];
            }
            (_, 1) => middle.iter_mut().zip(near).for_each(|(sum, near)| *sum = u16::from(*near)),
            _ => {
                for ((sum, near), far) in middle.iter_mut().zip(near).zip(self.row(other)) {
                    *sum = 3 * u16::from(*near) + u16::from(*far);
                }
            }
        }
        line.sums[0] = line.sums[1];
        line.sums[width + 1] = line.sums[width];
        let samples = &mut line.samples[..2 * width];
        if self.shared.1 == 1 {
            widen::<1, 2, 2>(&line.sums, samples)
        } else {
            widen::<8, 7, 4>(&line.sums, samples)
        }
        samples
    }
}

/// Memory for a row's interpolation.
#[derive(Debug, Clone)]
struct Line {
    /// Sums of two rows, and a repeated one at each end.
    sums: Vec<u16>,
    samples: Vec<u8>,
}

/// Two samples for each of `sums` but the outer ones: three quarters of it and one of its neighbour.
#[inline(always)]
fn widen<const LEFT: u16, const RIGHT: u16, const SHIFT: u32>(sums: &[u16], samples: &mut [u8]) {
    let pairs = samples.as_chunks_mut::<2>().0;
    let count = pairs.len();
    let (before, here, behind) = (&sums[..count], &sums[1..][..count], &sums[2..][..count]);
    for (((pair, before), here), behind) in pairs.iter_mut().zip(before).zip(here).zip(behind) {
        *pair = [((3 * here + before + LEFT) >> SHIFT) as u8, ((3 * here + behind + RIGHT) >> SHIFT) as u8];
    }
}

/// Makes RGB rows of the planes of YCbCr.
#[derive(Debug)]
pub struct Rows {
    /// The planes.
    pub planes: [Plane; 3],
    lines: [Line; 3],
    width: usize,
    height: usize,
    /// Rows of a row group.
    group: usize,
    /// The next row.
    next: usize,
}

impl Rows {
    /// Rows of an image of `width` times `height` pixels, `group` of them in a row group.
    pub fn new(planes: [Plane; 3], (width, height): (usize, usize), group: usize) -> Self {
        let line = Line { sums: vec![0; width + 4], samples: vec![0; width + 2] };
        Self { planes, lines: [(); 3].map(|()| line.clone()), width, height, group, next: 0 }
    }

    /// Appends the rows that can be made now that the file's row of blocks with number `read` is in the planes.
    #[inline(always)]
    pub fn append(&mut self, read: usize, pixels: &mut [u8]) {
        let all = (read + 1) * GROUPS_READ * self.group;
        // What lies above a row that is not read yet waits for it.
        let end = if all >= self.height { self.height } else { all - self.group };
        while self.next < end {
            let [y, cb, cr] = &self.planes;
            let [line0, line1, line2] = &mut self.lines;
            let row = &mut pixels[self.next * 3 * self.width..][..3 * self.width];
            to_rgb(y.line(self.next, line0), cb.line(self.next, line1), cr.line(self.next, line2), row);
            self.next += 1;
        }
        self.planes.iter_mut().for_each(Plane::advance);
    }
}

/// Converts colours (JFIF, "Conversion to and from RGB"), with libjpeg's 16 bits behind the binary point.
#[inline(always)]
fn to_rgb(y: &[u8], cb: &[u8], cr: &[u8], pixels: &mut [u8]) {
    let count = pixels.len() / 3;
    let (chunks, rest) = pixels.as_chunks_mut::<{ 3 * LANES }>();
    let whole = chunks.len() * LANES;
    let (ys, cbs, crs) = (y.as_chunks::<LANES>().0, cb.as_chunks::<LANES>().0, cr.as_chunks::<LANES>().0);
    for (((chunk, y), cb), cr) in chunks.iter_mut().zip(ys).zip(cbs).zip(crs) {
        convert(y, cb, cr, chunk);
    }
    if count > whole {
        let last = |samples: &[u8]| {
            let mut lanes = [0; LANES];
            lanes[..count - whole].copy_from_slice(&samples[whole..count]);
            lanes
        };
        let mut chunk = [0; 3 * LANES];
        convert(&last(y), &last(cb), &last(cr), &mut chunk);
        rest.copy_from_slice(&chunk[..rest.len()]);
    }
}

/// Converts as many pixels as the compiler makes vectors of.
#[inline(always)]
fn convert(y: &[u8; LANES], cb: &[u8; LANES], cr: &[u8; LANES], pixels: &mut [u8; 3 * LANES]) {
    let (mut red, mut green, mut blue) = ([0; LANES], [0; LANES], [0; LANES]);
    for lane in 0..LANES {
        let (y, cb, cr) = (i32::from(y[lane]), i32::from(cb[lane]) - 128, i32::from(cr[lane]) - 128);
        let half = 1 << 15;
        red[lane] = (y + ((91_881 * cr + half) >> 16)).clamp(0, 255) as u8;
        green[lane] = (y + ((-22_554 * cb - 46_802 * cr + half) >> 16)).clamp(0, 255) as u8;
        blue[lane] = (y + ((116_130 * cb + half) >> 16)).clamp(0, 255) as u8;
    }
    for (lane, pixel) in pixels.as_chunks_mut::<3>().0.iter_mut().enumerate() {
        *pixel = [red[lane], green[lane], blue[lane]];
    }
}
