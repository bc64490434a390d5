//! Transfer learning, where weights are taught other classes: which layers learn, how fast, and how much each class counts.

use infer_core::describe::{Description, Kind};
use serde::{Deserialize, Serialize};

use super::config::Options;
use crate::{
    model::Network,
    ops::ConvDevice,
    optimiser::{Optimiser, OptimiserDevice},
};

/// Layers at the front of a network that do not learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Freeze {
    /// The layers before the first linear one: all convolutions.
    Features,
    /// So many layers with weights, from the first on.
    #[serde(untagged)]
    Layers(usize),
}

impl Freeze {
    /// Number of layers with weights of `network` that are frozen.
    pub fn layers(self, network: &Description) -> usize {
        match self {
            Self::Features => weighted(network).filter(|kind| matches!(kind, Kind::Conv { .. })).count(),
            Self::Layers(layers) => layers,
        }
    }

    /// The most layers of `network` that may be frozen: all with weights but the last.
    pub fn most(network: &Description) -> usize {
        weighted(network).count().saturating_sub(1)
    }
}

/// The kinds of the layers with weights.
fn weighted(network: &Description) -> impl Iterator<Item = Kind> {
    network.layers.iter().filter(|layer| layer.tensors.is_some()).map(|layer| layer.kind)
}

/// Weights of the classes in the loss.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassWeights {
    /// All images count the same.
    #[default]
    #[serde(rename = "none")]
    Equal,
    /// The rarer a class is among the training images, the more each of its images counts, so that all classes count the same.
    Balanced,
}

impl ClassWeights {
    /// All of them, by their names on the command line.
    pub const NAMES: [(&'static str, Self); 2] = [("none", Self::Equal), ("balanced", Self::Balanced)];

    /// A weight for each class, where they differ, given the labels of the training images: `n / (classes · n_c)`, where `n_c` of the
    /// `n` images are of class `c`. Classes without images do not count, and weigh nothing.
    pub fn of(self, labels: impl IntoIterator<Item = u16>, classes: usize) -> Option<Vec<f32>> {
        if self == Self::Equal {
            return None;
        }
        let mut counts = vec![0_u64; classes];
        labels.into_iter().for_each(|label| counts[usize::from(label)] += 1);
        let images: u64 = counts.iter().sum();
        let present = counts.iter().filter(|count| **count > 0).count();
        let weight = |count: &u64| match count {
            0 => 0.0,
            count => (images as f64 / (present as f64 * *count as f64)) as f32,
        };
        Some(counts.iter().map(weight).collect())
    }
}

impl Options {
    /// Number of layers with weights of `network` that are frozen.
    pub fn frozen(&self, network: &Description) -> usize {
        self.freeze.map_or(0, |freeze| freeze.layers(network))
    }

    /// The optimiser of `network`: frozen layers do not learn, and the last one may have a learning rate of its own.
    ///
    /// # Errors
    /// The device's own.
    pub(super) fn optimiser_of<D: OptimiserDevice + ConvDevice, N: Network<D>>(
        &self,
        network: &mut N,
    ) -> Result<Optimiser<D>, D::Err> {
        let tensors = || N::DESCRIPTION.layers.iter().filter_map(|layer| layer.tensors);
        let frozen = self.frozen(N::DESCRIPTION);
        let head = self.head_learning_rate.map_or(1.0, |rate| rate / self.learning_rate);
        Optimiser::with_rates(network, self.optimiser.clone(), |name| {
            let of_layer = |tensors: [&str; 2]| tensors.contains(&name);
            if tensors().take(frozen).any(of_layer) {
                return None;
            }
            Some(if tensors().next_back().is_some_and(of_layer) { head } else { 1.0 })
        })
    }
}

#[cfg(test)]
mod tests {
    use infer_core::{alexnet, alexnet_2012, lenet5};

    use super::*;

    #[test]
    fn features_are_the_convolutions() {
        assert_eq!(Freeze::Features.layers(&alexnet::DESCRIPTION), 5);
        assert_eq!(Freeze::Features.layers(&alexnet_2012::DESCRIPTION), 5);
        assert_eq!(Freeze::Features.layers(&lenet5::DESCRIPTION), 2);
        assert_eq!(Freeze::Layers(3).layers(&lenet5::DESCRIPTION), 3);
        assert_eq!((Freeze::most(&alexnet::DESCRIPTION), Freeze::most(&lenet5::DESCRIPTION)), (7, 4));
    }

    #[test]
    fn options_name_what_is_frozen() {
        let json = |freeze: Freeze| serde_json::to_string(&freeze).unwrap();
        assert_eq!((json(Freeze::Features), json(Freeze::Layers(3))), (r#""features""#.into(), "3".into()));
        for freeze in [Freeze::Features, Freeze::Layers(3)] {
            assert_eq!(serde_json::from_str::<Freeze>(&json(freeze)).unwrap(), freeze);
        }
        assert!(serde_json::from_str::<Freeze>(r#""head""#).is_err());
    }

    #[test]
    fn balanced_classes_count_the_same() {
        // sklearn.utils.class_weight.compute_class_weight("balanced", classes=np.arange(3), y=[0, 0, 0, 1, 1, 2]).
        let weights = ClassWeights::Balanced.of([0, 1, 0, 2, 1, 0], 3);
        assert_eq!(weights, Some(vec![0.666_666_7, 1.0, 2.0]));
        let absent = ClassWeights::Balanced.of([0, 3, 3, 3], 4);
        assert_eq!(absent, Some(vec![2.0, 0.0, 0.0, 0.666_666_7]));
        assert_eq!(ClassWeights::Equal.of([0, 1], 2), None);
    }
}
