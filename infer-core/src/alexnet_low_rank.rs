//! AlexNet with linear layers of low rank: [AlexNet](mod@crate::alexnet)'s convolutions, and each of its two large linear layers
//! as two small ones, `linear1a` and `linear1b`, `linear2a` and `linear2b`.
//!
//! A linear layer from n to m values has a weight of m·n values. The values that it gives for real images vary in a few
//! directions only, so that a matrix of low rank does nearly the same: a product of two factors, one of r·n values and one of
//! m·r. The first factor gives r values and has no ReLU; the second one has that of the layer. The rank r is what a network is
//! chosen by:
//!
//! | layer | output | parameters: rank 64 | rank 128 | rank 256 |
//! |---|---|---|---|---|
//! | `conv1` to `pool5` | 256×5×5 | 3,723,968 | 3,723,968 | 3,723,968 |
//! | `linear1a`, no ReLU | r | 409,664 | 819,328 | 1,638,656 |
//! | `linear1b`, ReLU | 4096 | 266,240 | 528,384 | 1,052,672 |
//! | `linear2a`, no ReLU | r | 262,208 | 524,416 | 1,048,832 |
//! | `linear2b`, ReLU | 4096 | 266,240 | 528,384 | 1,052,672 |
//! | `linear3` | 10 | 40,970 | 40,970 | 40,970 |
//! | all, of AlexNet's 46,764,746 | | 4,969,290 | 6,165,450 | 8,557,770 |
//! | a file of f32, of AlexNet's 187 MB | | 19.9 MB | 24.7 MB | 34.2 MB |
//!
//! Their weights come from AlexNet's, by `trainer compress`, or from training, as any network's.
//!
//! Denil et al. 2013, *Predicting Parameters in Deep Learning*, section 3, write weights as such a product.

/// The layers of an AlexNet of low rank, 64, 128 or 256, handed to a macro that makes something of them:
/// [`network!`](crate::network), or the trainer's.
#[macro_export]
macro_rules! alexnet_low_rank {
    (64, $then:path) => {
        $crate::alexnet_low_rank! { $then, AlexNetRank64 "alexnet-rank64", 64 }
    };
    (128, $then:path) => {
        $crate::alexnet_low_rank! { $then, AlexNetRank128 "alexnet-rank128", 128 }
    };
    (256, $then:path) => {
        $crate::alexnet_low_rank! { $then, AlexNetRank256 "alexnet-rank256", 256 }
    };
    ($then:path, $name:ident $id:literal, $rank:tt) => {
        $crate::alexnet! {
            $then,
            #[doc = concat!("AlexNet with linear layers of rank ", $rank, ": see the table of its module.")]
            $name $id;
            linear1a: linear $rank, no relu;
            linear1b: linear 4096, dropout;
            linear2a: linear $rank, no relu;
            linear2b: linear 4096, dropout;
            linear3: linear 10 classes;
        }
    };
}

/// AlexNet with linear layers of rank 64.
pub mod rank64 {
    alexnet_low_rank!(64, crate::network);
}

/// AlexNet with linear layers of rank 128.
pub mod rank128 {
    alexnet_low_rank!(128, crate::network);
}

/// AlexNet with linear layers of rank 256.
pub mod rank256 {
    alexnet_low_rank!(256, crate::network);
}

#[cfg(test)]
mod tests {
    use super::{rank64, rank128, rank256};
    use crate::alexnet;
    use crate::describe::{Description, Kind, Layer, network_of};
    use std::{format, string::String, string::ToString, vec, vec::Vec};

    #[test]
    fn they_are_alexnet_but_for_the_factors() {
        let networks: [(&Description, usize); 3] =
            [(&rank64::DESCRIPTION, 64), (&rank128::DESCRIPTION, 128), (&rank256::DESCRIPTION, 256)];
        for (network, rank) in networks {
            assert_eq!(network.layers[..8], alexnet::LAYERS[..8]);
            let [a1, b1, a2, b2, last] = &network.layers[8..] else { panic!("{network:?}") };
            let whole = |number: usize| alexnet::LAYERS[8 + number];
            for (a, b, layer) in [(a1, b1, whole(0)), (a2, b2, whole(1))] {
                assert_eq!((a.input, b.output, b.kind), (layer.input, layer.output, layer.kind));
                assert_eq!((a.output.channels, b.input.channels), (rank, rank));
                assert_eq!(a.kind, Kind::Linear { relu: false, dropout: false });
            }
            assert_eq!((last.input, last.output, last.kind), (whole(2).input, whole(2).output, whole(2).kind));
        }
    }

    #[test]
    fn a_file_without_metadata_is_known_by_its_sizes() {
        let networks: [&Description; 4] =
            [&alexnet::DESCRIPTION, &rank64::DESCRIPTION, &rank128::DESCRIPTION, &rank256::DESCRIPTION];
        for network in networks {
            // For other classes, so that the last layer is none of theirs.
            let length = |name: &str| {
                let layer = network.layers(7).find(|layer| layer.tensors.is_some_and(|[weight, _]| weight == name));
                let bias = network.tensors.contains(&name).then_some(1);
                layer.map(|layer| layer.output.channels * layer.fan_in()).or(bias)
            };
            assert_eq!(network_of(networks, None, length), Some(network));
            for whole in [network.packed_tensor, network.int8_tensor] {
                let found = network_of(networks, None, |name| (name == whole).then_some(64));
                assert_eq!(found, Some(network), "{whole}");
            }
        }
    }

    /// A number with a comma between groups of three digits.
    fn grouped(number: usize) -> String {
        let rest = number / 1000;
        if rest == 0 { number.to_string() } else { format!("{},{:03}", grouped(rest), number % 1000) }
    }

    #[test]
    fn the_table_is_right() {
        let networks = [&rank64::DESCRIPTION, &rank128::DESCRIPTION, &rank256::DESCRIPTION];
        let row = |of: &dyn Fn(&Description) -> String| format!("| {} |\n", networks.map(of).join(" | "));
        let parameters = |layers: &[Layer]| grouped(layers.iter().map(Layer::parameters).sum());
        let mut rows = vec![row(&|network| parameters(&network.layers[..8]))];
        rows.extend((8..13).map(|layer| row(&|network| parameters(&network.layers[layer..=layer]))));
        rows.push(row(&|network| parameters(network.layers)));
        rows.push(row(&|network| format!("{:.1} MB", network.parameters(network.classes()) as f64 * 4e-6)));
        let table = include_str!("alexnet_low_rank.rs").lines().filter(|line| line.starts_with("//! | "));
        let table: Vec<_> = table.map(|line| format!("{line}\n")).collect();
        assert_eq!(table.len(), 1 + rows.len());
        for (line, row) in table[1..].iter().zip(&rows) {
            assert!(line.ends_with(row), "{line} is not {row}");
        }
    }
}
