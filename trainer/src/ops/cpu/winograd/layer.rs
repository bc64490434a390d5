//! A convolution with what follows it, forward and backward, over a batch of channels-last images.
//!
//! The images go through in groups. Of each group, threads share the images while tiles are transformed, and the places of
//! the transformed tiles while these are multiplied; the results do not depend on how many threads there are, but for the
//! size of the groups.

use kernels::{
    ImageTile, Misfit,
    training::{MaxPool, MaxPoolGradient, Planes, PlanesMut, TrainingKernels},
};
use rayon::prelude::*;

use super::{
    super::{
        buffer::Buffer,
        matrix::{Matrix, Mode, multiply_into},
    },
    filters,
    layout::{from_grid, to_grid},
    parts,
    plan::Plan,
};

/// Floats between planes, without which they would lie a multiple of a page apart and compete for places in the cache.
const PAD: usize = 16;

/// Results of a layer's forward pass for its backward pass and for the next layer.
#[derive(Debug)]
pub(super) struct Output {
    /// The output: images of `[row][column][channel]`.
    pub(super) values: Buffer<f32>,
    /// Where in its window each maximum was; empty without pooling.
    winners: Buffer<u8>,
}

/// Gradients that a backward pass adds to.
#[derive(Debug)]
pub(super) struct GradientSums<'a> {
    pub(super) weight: &'a mut [f32],
    pub(super) bias: &'a mut [f32],
}

/// A convolution that is ready to be computed.
#[derive(Debug)]
pub(super) struct Layer<'a> {
    pub(super) plan: &'a Plan,
    kernels: &'static TrainingKernels,
    /// The transformed filters.
    filters: Buffer<f32>,
}

impl<'a> Layer<'a> {
    /// # Errors
    /// [`Misfit`], here and below, where the plan's sizes do not fit each other: a fault of this module.
    pub(super) fn new(plan: &'a Plan, kernels: &'static TrainingKernels, weight: &[f32]) -> Result<Self, Misfit> {
        Ok(Self { plan, kernels, filters: filters::transform(plan, kernels, weight)? })
    }

    /// The filters of one place of a transformed tile.
    fn filters(&self, place: usize) -> Matrix<'_> {
        let count = self.plan.group_depth() * self.plan.filters;
        Matrix::new(&self.filters[place * count..][..count], self.plan.group_depth(), self.plan.filters)
    }

    pub(super) fn forward(&self, images: &[f32], bias: &[f32]) -> Result<Output, Misfit> {
        let plan = self.plan;
        let batch = images.len() / plan.image_len();
        let group = plan.group(batch);
        let most = group * plan.tiles();
        let mut transformed = Buffer::new(plan.tile.planes() * (most * plan.depth() + PAD));
        let mut products = Buffer::new(plan.tile.planes() * (most * plan.filters + PAD));
        let mut values = Buffer::new(batch * plan.output_len());
        let mut winners = Buffer::new(if plan.extras.pool.is_some() { values.len() } else { 0 });

        let mut rest = &mut winners[..];
        for (images, values) in
            images.chunks(group * plan.image_len()).zip(values.chunks_mut(group * plan.output_len()))
        {
            let winners = rest.split_off_mut(..values.len().min(rest.len())).unwrap_or_default();
            let rows = images.len() / plan.image_len() * plan.tiles();
            let (input_plane, product_plane) = (rows * plan.depth() + PAD, rows * plan.filters + PAD);
            let tiles = plan.tiles() * plan.depth();
            parts(&mut transformed[..plan.tile.planes() * input_plane], input_plane, tiles)
                .into_par_iter()
                .zip(images.par_chunks(plan.image_len()))
                .try_for_each(|(mut planes, image)| self.transform_image(image, &mut planes))?;

            let transformed = &transformed[..];
            let products = &mut products[..plan.tile.planes() * product_plane];
            products.par_chunks_mut(product_plane).enumerate().for_each(|(place, products)| {
                let inputs =
                    Matrix::new(&transformed[place * input_plane..][..rows * plan.depth()], rows, plan.depth());
                for (channel, filter) in plan.groups() {
                    let inputs = inputs.columns(channel, plan.group_depth());
                    let filters = self.filters(place).columns(filter, plan.group_filters());
                    let products = &mut products[filter..rows * plan.filters];
                    multiply_into(inputs, filters, products, plan.filters, Mode::Replace);
                }
            });

            let products = &*products;
            let mut winners: Vec<&mut [u8]> = winners.chunks_mut(plan.output_len()).collect();
            winners.resize_with(images.len() / plan.image_len(), Default::default);
            let images = values.par_chunks_mut(plan.output_len()).zip(winners).enumerate();
            images.try_for_each(|(image, (values, winners))| {
                self.finish_image(products, product_plane, image, bias, values, winners)
            })?;
        }
        Ok(Output { values, winners })
    }

    /// The transformed tiles of an image, into a part of each plane.
    fn transform_image(&self, image: &[f32], planes: &mut [&mut [f32]]) -> Result<(), Misfit> {
        let plan = self.plan;
        let grid = plan.shuffled().then(|| {
            let mut grid = Buffer::new(plan.grid_len());
            to_grid(plan, image, &mut grid);
            grid
        });
        let image = grid.as_deref().unwrap_or(image);
        let (height, width) = plan.grid();
        let channels = plan.depth();
        for tile in 0..plan.tiles() {
            let (top, left) = plan.corner(tile);
            let (top, left) = (top - plan.padding() as isize, left - plan.padding() as isize);
            let window = ImageTile { image, height, width, channels, top, left };
            self.kernels.input(plan.tile, window, PlanesMut { planes: &mut *planes, offset: tile * channels })?;
        }
        Ok(())
    }

    /// The output of image number `image` of the group.
    fn finish_image(
        &self,
        products: &[f32],
        stride: usize,
        image: usize,
        bias: &[f32],
        values: &mut [f32],
        winners: &mut [u8],
    ) -> Result<(), Misfit> {
        let plan = self.plan;
        let channels = plan.filters;
        let finish = |output: &mut [f32]| {
            for tile in 0..plan.tiles() {
                let (top, left) = plan.corner(tile);
                let products = Planes { values: products, stride, offset: (image * plan.tiles() + tile) * channels };
                let (height, width) = (plan.rows, plan.columns);
                let window = ImageTile { image: &mut *output, height, width, channels, top, left };
                self.kernels.output(plan.tile, products, bias, plan.extras.relu, window)?;
            }
            Ok(())
        };
        let Some(pool) = plan.extras.pool else { return finish(values) };
        let mut sums = Buffer::new(plan.sums_len());
        finish(&mut sums)?;
        self.kernels.max_pool(MaxPool {
            input: &sums,
            width: plan.columns,
            channels,
            kernel: pool.kernel,
            stride: pool.stride,
            columns: plan.output().2,
            output: values,
            winners,
        })
    }

    /// Adds the gradients of weight and bias to `sums`, and returns the gradient of the images if `input_gradient`.
    pub(super) fn backward(
        &self,
        images: &[f32],
        output: &Output,
        output_gradient: &[f32],
        sums: GradientSums<'_>,
        input_gradient: bool,
    ) -> Result<Option<Buffer<f32>>, Misfit> {
        let plan = self.plan;
        let (depth, filters) = (plan.depth(), plan.filters);
        let batch = images.len() / plan.image_len();
        let group = plan.group(batch);
        let most = group * plan.tiles();
        let mut transformed = Buffer::new(plan.tile.planes() * (most * depth + PAD));
        let mut products = Buffer::new(plan.tile.planes() * (most * filters + PAD));
        let (group_depth, group_filters) = (plan.group_depth(), plan.group_filters());
        let mut filters_gradient = Buffer::new(plan.tile.planes() * group_depth * filters);
        let mut bias_gradients = Buffer::new(batch * filters);
        let mut images_gradient = Buffer::new(if input_gradient { images.len() } else { 0 });

        for first in (0..batch).step_by(group) {
            let count = group.min(batch - first);
            let rows = count * plan.tiles();
            let (input_plane, product_plane) = (rows * depth + PAD, rows * filters + PAD);
            let transformed = &mut transformed[..plan.tile.planes() * input_plane];
            let products = &mut products[..plan.tile.planes() * product_plane];
            parts(transformed, input_plane, plan.tiles() * depth)
                .into_par_iter()
                .zip(parts(products, product_plane, plan.tiles() * filters))
                .zip(bias_gradients[first * filters..].par_chunks_mut(filters))
                .take(count)
                .enumerate()
                .try_for_each(|(index, ((mut inputs, mut products), bias))| {
                    let image = first + index;
                    self.transform_image(&images[image * plan.image_len()..][..plan.image_len()], &mut inputs)?;
                    let part = image * plan.output_len()..(image + 1) * plan.output_len();
                    let winners = output.winners.get(part.clone()).unwrap_or_default();
                    let gradient = &output_gradient[part.clone()];
                    self.transform_gradient(&output.values[part], winners, gradient, &mut products, bias)
                })?;

            let mode = if first == 0 { Mode::Replace } else { Mode::Add };
            let products = &*products;
            let places =
                transformed.par_chunks_mut(input_plane).zip(filters_gradient.par_chunks_mut(group_depth * filters));
            places.enumerate().for_each(|(place, (transformed, filters_gradient))| {
                let products = Matrix::new(&products[place * product_plane..][..rows * filters], rows, filters);
                let transformed = &mut transformed[..rows * depth];
                for (channel, filter) in plan.groups() {
                    let inputs = Matrix::new(transformed, rows, depth).columns(channel, group_depth);
                    let products = products.columns(filter, group_filters);
                    multiply_into(inputs.transposed(), products, &mut filters_gradient[filter..], filters, mode);
                    if input_gradient {
                        let filters = self.filters(place).columns(filter, group_filters);
                        let transformed = &mut transformed[channel..];
                        multiply_into(products, filters.transposed(), transformed, depth, Mode::Replace);
                    }
                }
            });

            if input_gradient {
                let transformed = &*transformed;
                let images_gradient = &mut images_gradient[first * plan.image_len()..][..count * plan.image_len()];
                images_gradient.par_chunks_mut(plan.image_len()).enumerate().try_for_each(|(image, gradient)| {
                    self.finish_gradient(transformed, input_plane, image, gradient)
                })?;
            }
        }
        filters::add_gradient(plan, self.kernels, &filters_gradient, sums.weight)?;
        for gradient in bias_gradients.chunks_exact(filters) {
            for (sum, gradient) in sums.bias.iter_mut().zip(gradient) {
                *sum += gradient;
            }
        }
        Ok(input_gradient.then_some(images_gradient))
    }

    /// From the gradient of an image's output to that of its products, and of the bias.
    fn transform_gradient(
        &self,
        values: &[f32],
        winners: &[u8],
        output_gradient: &[f32],
        planes: &mut [&mut [f32]],
        bias: &mut [f32],
    ) -> Result<(), Misfit> {
        let plan = self.plan;
        let channels = plan.filters;
        let relu = plan.extras.relu;
        let mut gradient = Buffer::new(plan.sums_len());
        bias.fill(0.0);
        let places = values.chunks_exact(channels).zip(output_gradient.chunks_exact(channels));
        if let Some(pool) = plan.extras.pool {
            gradient.fill(0.0);
            self.kernels.max_pool_gradient(MaxPoolGradient {
                output: values,
                winners,
                output_gradient,
                relu,
                width: plan.columns,
                channels,
                kernel: pool.kernel,
                stride: pool.stride,
                columns: plan.output().2,
                input_gradient: &mut gradient,
            })?;
            for (values, gradients) in places {
                for ((sum, value), gradient) in bias.iter_mut().zip(values).zip(gradients) {
                    *sum += if relu && *value == 0.0 { 0.0 } else { *gradient };
                }
            }
        } else {
            for ((values, gradients), targets) in places.zip(gradient.chunks_exact_mut(channels)) {
                for (((sum, value), gradient), target) in bias.iter_mut().zip(values).zip(gradients).zip(targets) {
                    *target = if relu && *value == 0.0 { 0.0 } else { *gradient };
                    *sum += *target;
                }
            }
        }
        for tile in 0..plan.tiles() {
            let (top, left) = plan.corner(tile);
            let (height, width) = (plan.rows, plan.columns);
            let window = ImageTile { image: &gradient[..], height, width, channels, top, left };
            let planes = PlanesMut { planes: &mut *planes, offset: tile * channels };
            self.kernels.output_transposed(plan.tile, window, planes)?;
        }
        Ok(())
    }

    /// From the gradients of an image's transformed tiles to that of the image.
    fn finish_gradient(
        &self,
        transformed: &[f32],
        stride: usize,
        image: usize,
        gradient: &mut [f32],
    ) -> Result<(), Misfit> {
        let plan = self.plan;
        let (height, width) = plan.grid();
        let channels = plan.depth();
        let add_tiles = |gradient: &mut [f32]| {
            gradient.fill(0.0);
            for tile in 0..plan.tiles() {
                let (top, left) = plan.corner(tile);
                let (top, left) = (top - plan.padding() as isize, left - plan.padding() as isize);
                let planes = Planes { values: transformed, stride, offset: (image * plan.tiles() + tile) * channels };
                let window = ImageTile { image: &mut *gradient, height, width, channels, top, left };
                self.kernels.input_transposed(plan.tile, planes, window)?;
            }
            Ok(())
        };
        if plan.shuffled() {
            let mut grid = Buffer::new(plan.grid_len());
            add_tiles(&mut grid)?;
            from_grid(plan, &grid, gradient);
            Ok(())
        } else {
            add_tiles(gradient)
        }
    }
}
