//! Scores are those of scikit-learn (`by_scikit_learn.py` beside this file), and the text fits a terminal.

use super::*;

const CLASSES: usize = 8;
const IMAGES: usize = 500;

/// The classifier of the script: labels and logits.
fn made() -> (Vec<u16>, Vec<[f32; CLASSES]>) {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 40
    };
    let mut images = Vec::new();
    for _ in 0..IMAGES {
        let label = next() % 6;
        let mut logits: [f32; CLASSES] = std::array::from_fn(|_| next() as f32 / 16_777_216.0);
        logits[label as usize] += 0.3;
        logits[7] -= 4.0;
        logits[4] -= 2.0;
        images.push((label as u16, logits));
    }
    images.into_iter().unzip()
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|class| format!("class {class}")).collect()
}

/// Confusion and images with the right class among the first five.
fn counted_up() -> (Confusion, u64) {
    let (labels, logits) = made();
    let (mut confusion, mut in_top) = (Confusion::default(), 0);
    for (label, logits) in labels.into_iter().zip(logits) {
        let predicted = (0..CLASSES).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
        confusion.add(label, predicted as u16, CLASSES);
        in_top += u64::from(is_in_top(&logits, label.into()));
    }
    (confusion, in_top)
}

#[test]
fn scores_are_those_of_scikit_learn() {
    let (confusion, in_top) = counted_up();
    let classes = names(CLASSES);
    let evaluation = Evaluation { classes: &classes, confusion: &confusion, in_top: Some(in_top), loss: None };
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-15, "{a} {b}");
    close(evaluation.accuracy(), 0.388);
    close(evaluation.top_accuracy().unwrap(), 0.8);
    #[rustfmt::skip]
    let expected = [
        ("precision", ClassTotal::precision as fn(ClassTotal) -> Option<f64>, [
            0.41818181818181815, 0.4675324675324675, 0.3870967741935484, 0.5194805194805194, 0.0, 0.4, 0.0,
        ]),
        ("recall", ClassTotal::recall, [
            0.6052631578947368, 0.45, 0.46153846153846156, 0.45977011494252873, 0.0, 0.41379310344827586, 0.0,
        ]),
        ("f1", ClassTotal::f1, [
            0.4946236559139785, 0.4585987261146497, 0.42105263157894735, 0.4878048780487805, 0.0, 0.4067796610169492, 0.0,
        ]),
    ];
    let totals = evaluation.totals();
    for (name, score, values) in expected {
        for (class, (total, value)) in totals.iter().zip(values).enumerate() {
            let found = score(*total);
            // scikit-learn has 0 where there is nothing to divide by; here, that is said.
            let undefined = (name == "precision" && class == 4) || (name == "recall" && class == 6);
            assert_eq!(found.is_none(), undefined, "{name} of {class}");
            close(found.unwrap_or(0.0), value);
        }
    }
    let MacroMean { precision, recall, f1 } = evaluation.macro_mean();
    close(precision, 0.3131845113411934);
    close(recall, 0.34148069111771473);
    close(f1, 0.32412279323904364);
    let images = [76, 80, 78, 87, 92, 87, 0, 0];
    assert_eq!(totals.iter().map(|total| total.images).collect::<Vec<_>>(), images);
    assert_eq!(confusion.matrix()[4], [20, 14, 14, 16, 0, 17, 11, 0]);
}

#[test]
fn of_equal_logits_the_lower_class_comes_first() {
    assert!(is_in_top(&[0.0; 6], 4) && !is_in_top(&[0.0; 6], 5));
    assert!(is_in_top(&[1.0, 1.0, 1.0, 1.0, 0.0, 0.5], 5) && !is_in_top(&[1.0, 1.0, 1.0, 1.0, 1.0, 0.5], 5));
    assert!(!is_in_top(&[1.0], 1));
}

#[test]
fn the_text_fits_80_columns_with_ten_classes() {
    let classes: Vec<String> =
        (0..10).map(|class| format!("a very long name of a class of images, number {class}\u{1b}[31m")).collect();
    let mut confusion = Confusion::default();
    for label in 0..10 {
        for _ in 0..1000 {
            confusion.add(label, label, 10);
        }
        confusion.add(label, (label + 1) % 10, 10);
    }
    let evaluation = Evaluation { classes: &classes, confusion: &confusion, in_top: Some(10_010), loss: Some(0.25) };
    let text = evaluation.to_string();
    assert!(text.lines().all(|line| crate::words::width(line) <= 80), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    let head = "accuracy         99.90 %  (10,000 of 10,010 images)\ntop-5 accuracy  100.00 %\nloss            0.2500\n\nclass ";
    assert!(text.starts_with(head), "{text}");
    assert!(text.contains("\nmacro mean                              10,010    99.90 %  99.90 %  99.90 %\n"), "{text}");
    assert!(text.contains("\n3 a very long nam…     ·     ·     ·  1000     1"), "{text}");
}

#[test]
fn few_classes_have_no_top_accuracy_and_many_no_matrix() {
    let classes = names(5);
    let (mut few, mut many) = (Confusion::default(), Confusion::default());
    few.add(3, 3, 5);
    let text = Evaluation { classes: &classes, confusion: &few, in_top: Some(1), loss: None }.to_string();
    assert!(text.starts_with("accuracy        100.00 %  (1 of 1 image)\n\nclass"), "{text}");
    many.add(7, 40, 41);
    many.add(7, 40, 41);
    let classes = names(41);
    let text = Evaluation { classes: &classes, confusion: &many, in_top: None, loss: None }.to_string();
    assert!(text.contains("Most often taken for another class:\n  7 class 7 → 40 class 40: 2 images\n"), "{text}");
    assert!(!text.contains("rows") && !text.contains("top-5"), "{text}");
    let nothing = Confusion::default();
    let text = Evaluation { classes: &classes, confusion: &nothing, in_top: Some(0), loss: None }.to_string();
    assert!(text.starts_with("accuracy          0.00 %  (0 of 0 images)\n"), "{text}");
}
