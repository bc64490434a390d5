//! A network ready to run, of floats or of 8-bit integers: what both have in common.

use infer_core::{
    describe::Description,
    int8,
    packed::{self, Cost, Line, Parallel},
};

/// A network and the kernels that run it.
#[derive(Debug)]
pub enum Model<'w> {
    /// Of floats.
    Floats(Box<packed::Network<'w>>),
    /// Of 8-bit integers.
    Int8(Box<int8::Network<'w>>),
}

impl Model<'_> {
    /// The network as a table.
    pub fn description(&self) -> &'static Description {
        match self {
            Self::Floats(network) => network.description(),
            Self::Int8(network) => network.description(),
        }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        match self {
            Self::Floats(network) => network.classes(),
            Self::Int8(network) => network.classes(),
        }
    }

    /// Lines of workspace that a batch of that many images needs.
    pub fn workspace_len(&self, batch: usize) -> usize {
        match self {
            Self::Floats(network) => network.workspace_len(batch),
            Self::Int8(network) => network.workspace_len(batch),
        }
    }

    /// Name of the kernels' instructions.
    pub fn kernel(&self) -> String {
        match self {
            Self::Floats(network) => network.backend().to_string(),
            Self::Int8(network) => network.backend().to_string(),
        }
    }

    /// Number format of the linear layers' weights; of an int8 network, that of all weights.
    pub fn linear_weights(&self) -> String {
        match self {
            Self::Floats(network) => network.linear_weights().to_string(),
            Self::Int8(_) => "int8".to_string(),
        }
    }

    /// Costs of the layers, in order.
    pub fn costs(&self) -> Vec<Cost> {
        match self {
            Self::Floats(network) => network.plan().costs(network.classes(), network.linear_weights()).collect(),
            Self::Int8(network) => network.plan().costs(network.classes()).collect(),
        }
    }

    /// The logits of each image, see [`packed::Network::forward`].
    ///
    /// # Errors
    /// Memory does not fit the images.
    pub fn forward(
        &self,
        images: &[f32],
        logits: &mut [f32],
        workspace: &mut [Line],
        parallel: &impl Parallel,
    ) -> anyhow::Result<()> {
        self.forward_observed(images, logits, workspace, parallel, &mut |_| ())
    }

    /// The same, and calls `done` with the number of a layer whenever it is done.
    ///
    /// # Errors
    /// Memory does not fit the images.
    pub fn forward_observed(
        &self,
        images: &[f32],
        logits: &mut [f32],
        workspace: &mut [Line],
        parallel: &impl Parallel,
        done: &mut impl FnMut(usize),
    ) -> anyhow::Result<()> {
        match self {
            Self::Floats(network) => network.forward_observed(images, logits, workspace, parallel, done)?,
            Self::Int8(network) => network.forward_observed(images, logits, workspace, parallel, done)?,
        }
        Ok(())
    }
}
